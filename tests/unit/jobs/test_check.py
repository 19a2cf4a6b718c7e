"""clinprompt tasks check, on tasks that need no files."""

import json

import pytest

from clinprompt.errors import SettingError
from clinprompt.jobs.check import check_tasks


@pytest.fixture
def check(tiny_llama_folder):
    def run(*names, suite="", mirror=None):
        return check_tasks(names, suite=suite, mirror=mirror, backbone=str(tiny_llama_folder))

    return run


def own_task(folder, lines, **changes):
    folder.mkdir(exist_ok=True)
    card = CARD
    for old, new in changes.items():
        assert f"{old} = " in card
        card = card.replace(f"{old} = ", f"{new}\n#", 1)
    (folder / "card.toml").write_text(card)
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(folder)


def labeled(count):
    return [{"text": f"Note {n}: takes aspirin.", "label": "yes"} for n in range(count)]


def test_every_practice_task_is_whole_and_survives_as_text(check):
    checked = check(suite="practice")
    assert len(checked.rows) == 8
    assert {row["survive"]["rows"] for row in checked.rows} == {1.0}
    assert all(min(row["rows"].values()) > 0 for row in checked.rows)
    assert checked.problems() == []


def test_naming_no_task_lists_the_tasks(check):
    with pytest.raises(SettingError, match="practice-ner-drugs"):
        check()


def test_missing_tasks_with_the_same_remedy_are_reported_together(check, tmp_path):
    named = ("nli-mqp", "mimic-cxr-impression", "re-gad", "n2c2-2022-sdoh", "n2c2-2022-sdoh-ner")
    checked = check(*named, mirror=tmp_path)
    assert (checked.rows, checked.errors) == ([], {})
    assert list(checked.absent) == list(named)
    public, mimic, n2c2 = checked.problems()
    assert public.startswith(
        "nli-mqp, re-gad: not here; fetch them with 'clinprompt tasks fetch nli-mqp re-gad', or set"
    )
    assert mimic.startswith(f"mimic-cxr-impression: {tmp_path}")
    assert n2c2.startswith("n2c2-2022-sdoh, n2c2-2022-sdoh-ner: not here; ")
    assert n2c2.count("put ") == 1


def test_a_count_that_the_card_does_not_state_is_reported(check, tmp_path):
    [row] = check(own_task(tmp_path, labeled(6))).rows
    assert row["mismatch"] == ["train: 6 rows, but the card states 7"]
    assert row["dropped"] is None


def test_what_is_published_is_read_or_left_out_for_a_reason(check, tmp_path):
    left_out = "{ rows = 2, reason = 'damaged' }"
    published = f"published = {{ all = {{ rows = 9 }}, left_out = [{left_out}] }}"
    name = own_task(tmp_path, labeled(7), **{"counts.train": published})
    [row] = check(name).rows
    assert row["mismatch"] == []
    assert row["left_out"] == [{"split": "all", "rows": 2, "reason": "damaged"}]
    own_task(tmp_path, labeled(6), **{"counts.train": published})
    assert check(name).problems() == ["own: published all: 9 rows stated, but 6 read + 2 left out"]


def test_a_text_answer_that_changes_when_written_and_read_is_reported(check, tmp_path):
    lines = [{"text": "a note", "label": "a summary"}, {"text": "a note", "label": " "}]
    changes = {
        "type": 'type = "summarization"',
        "answer": 'answer = "text"',
        "metric": 'metric = "rouge_l"',
        "reader": 'reader = { name = "jsonl", row = { fields = { text = "text" }, '
        'text = "label" } }',
        "counts.train": "",
        "labels": "",
    }
    [problem] = check(own_task(tmp_path, lines, **changes)).problems()
    assert problem.startswith("own: 1 of 2 answers change when written as text and read, the first")


def test_tasks_that_cannot_be_read_do_not_hide_the_others(check, tmp_path):
    suite = tmp_path / "mine.toml"
    own = own_task(tmp_path / "own", labeled(7))
    suite.write_text(
        f"name = 'mine'\ntitle = 'Mine'\nsources = ['practice-nli-history', 'ner-psytar']\n"
        f"targets = ['radnli', '{own}', 'no-such']"
    )
    checked = check(suite=str(suite), mirror=tmp_path)
    assert [row["task"] for row in checked.rows] == ["practice-nli-history", "own"]
    psytar, radnli, unknown = checked.problems()
    assert psytar.startswith("ner-psytar: ")
    assert "clinprompt tasks fetch ner-psytar" in psytar
    assert radnli.startswith("radnli: ")
    assert "physionet.org" in radnli
    assert unknown.startswith("no-such: unknown task 'no-such'")


CARD = """
name = "own"
type = "nli"
answer = "label"
title = "Own"
metric = "accuracy"
source = { repository = "own", license = "own" }
reader = { name = "jsonl", row = { fields = { text = "text" }, label = "label" } }
files = { train = ["notes.jsonl"] }
counts.train = { rows = 7 }
labels = { yes = "yes", no = "no" }
[wording]
version = 1
template = "{{ text }} Aspirin?"
instruction = "Answer yes or no."
"""
