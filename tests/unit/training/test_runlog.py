"""The log keeps each step once."""

import os

import pytest

from clinprompt.errors import RunError
from clinprompt.training.runlog import RunLog


def test_rows_are_read_in_order(tmp_path):
    log = RunLog(tmp_path / "deep" / "metrics.jsonl")
    assert log.rows() == []
    log.add("a", 1, {"loss": 0.5})
    log.add("b", 1, {"loss": 0.25})
    assert log.rows() == [
        {"phase": "a", "step": 1, "loss": 0.5},
        {"phase": "b", "step": 1, "loss": 0.25},
    ]


def test_forget_drops_later_rows_of_one_phase_only(tmp_path):
    log = RunLog(tmp_path / "metrics.jsonl")
    for phase in ("a", "b"):
        for step in (1, 2, 3):
            log.add(phase, step, {})
    log.forget("a", after=1)
    left = [(row["phase"], row["step"]) for row in log.rows()]
    assert left == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]


def test_a_half_written_line_is_left_out_and_written_over(tmp_path):
    log = RunLog(tmp_path / "metrics.jsonl")
    log.add("a", 1, {})
    with log.path.open("a") as stream:
        stream.write('{"phase": "a", "st')
    assert [row["step"] for row in log.rows()] == [1]
    log.add("a", 2, {})
    assert [row["step"] for row in log.rows()] == [1, 2]


def test_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"phase": "a", "step": 1}\n{"phase": \n{"phase": "a", "step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: this line is damaged"):
        RunLog(path).rows()


def test_a_line_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"phase": "a", "step": 1}\n\xff\xff\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: this line is damaged"):
        RunLog(path).rows()


def test_the_lines_of_a_step_are_written_at_once(tmp_path, monkeypatch):
    log = RunLog(tmp_path / "metrics.jsonl")
    writes = []
    write = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (writes.append(number), write(number))[1])
    log.add_all([("a", 1, {"loss": 0.5}), ("b", 1, {"loss": 0.25})])
    rows = [("a", 1, 0.5), ("b", 1, 0.25)]
    assert [(row["phase"], row["step"], row["loss"]) for row in log.rows()] == rows
    first = len(writes)
    log.add_all([("a", 2, {}), ("b", 2, {})])
    assert len(writes) == first + 1
