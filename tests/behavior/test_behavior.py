"""What the commands compute on tiny models stays what it was; see ``record.py``."""

import json
from pathlib import Path

import pytest
from record import as_text, differences, portable, record

RECORDED = Path(__file__).parent / "recorded.json"


def test_two_recordings_differ_by_what_changed():
    old = {"cells": {"a": {"value": 0.5, "rows": [1, 2]}}, "search": {"b": {"loss": 1.0}}}
    new = {"cells": {"a": {"value": 0.6, "rows": [1, 3]}}, "search": {"b": {"loss": 1.0005}}}
    assert list(differences(old, old, exact=True)) == []
    changed = ["/cells/a/value: 0.5 became 0.6", "/cells/a/rows/1: 2 became 3"]
    assert list(differences(old, new, exact=False)) == changed
    loss = "/search/b/loss: 1.0 became 1.0005"
    assert list(differences(old, new, exact=True)) == [*changed, loss]
    assert list(differences({"a": 1}, {"b": 1}, exact=True)) == ["/a: is missing", "/b: is new"]


def test_a_portable_recording_has_no_hashes():
    prompt = {"fingerprint": "x", "tensors": {"u": {"sha256": "y", "norm": 1.0}}}
    assert portable({"a": [prompt]}) == {"a": [{"tensors": {"u": {"norm": 1.0}}}]}


@pytest.mark.slow
def test_all_commands_compute_what_was_recorded(tmp_path):
    found = portable(json.loads(as_text(record(tmp_path))))
    old = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert list(differences(old, found, exact=False)) == []
