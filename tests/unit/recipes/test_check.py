"""clinprompt tasks check, on tasks that need no files."""

import json

import pytest

from clinprompt.errors import SettingError
from clinprompt.recipes.check import check_tasks


def test_every_practice_task_is_whole_and_survives_as_text(tiny_llama_folder):
    rows = check_tasks((), suite="practice", mirror=None, backbone=str(tiny_llama_folder))
    assert len(rows) == 10
    assert {row["survive"] for row in rows} == {1.0}
    assert all(row["train"] and row["validation"] and row["test"] for row in rows)


def test_naming_nothing_says_what_there_is():
    with pytest.raises(SettingError, match="practice-ner-drugs"):
        check_tasks((), suite="", mirror=None)


def test_a_count_that_the_card_does_not_state_is_told(tmp_path, tiny_llama_folder):
    lines = [{"text": f"Note {n}: takes aspirin.", "label": "yes"} for n in range(6)]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "card.toml").write_text(CARD)
    [row] = check_tasks([str(tmp_path)], suite="", mirror=None, backbone=str(tiny_llama_folder))
    assert row["mismatch"] == "train: 6 rows, but the card states 7"
    assert row["dropped"] == ""


CARD = """
name = "own"
type = "nli"
answer = "label"
title = "Own"
metric = "accuracy"
source = { repository = "own", license = "own" }
reader = { name = "jsonl", row = { fields = { text = "text" }, label = "label" } }
files = { train = ["notes.jsonl"] }
counts.train = { rows = 7, annotations = 6 }
labels = { yes = "yes", no = "no" }
[wording]
version = 1
template = "{{ text }} Aspirin?"
instruction = "Answer yes or no."
"""
