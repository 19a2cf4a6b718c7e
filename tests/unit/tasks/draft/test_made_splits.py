"""Made splits have enough test records, and their share of records that list nothing."""

import json

import pytest

from clinprompt.tasks.draft.draft_task import draft_task


def draft(folder, *, num, nothing=()):
    rows = [
        {
            "text": f"Takes iron {number} times.",
            "entities": [] if number in nothing else [{"start": 6, "end": 10, "label": "DRUG"}],
        }
        for number in range(num)
    ]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return draft_task("ner", folder / "notes.jsonl")


@pytest.mark.parametrize(
    ("num", "least", "most"), [(20, 1, 3), (40, 10, 14), (60, 20, 24), (200, 45, 55), (900, 85, 95)]
)
def test_small_data_gets_a_larger_share_of_test_records(tmp_path, num, least, most):
    assert least <= len(draft(tmp_path, num=num).data.splits["test"]) <= most


def test_a_large_test_file_does_not_change_the_share_for_validation(tmp_path):
    for split, num in (("train", 100), ("test", 900)):
        rows = [{"text": f"Takes iron {n} times.", "entities": [[6, 10, "D"]]} for n in range(num)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sizes = {name: len(own) for name, own in draft_task("ner", tmp_path).data.splits.items()}
    assert sizes == {"train": 90, "validation": 10, "test": 900}


def test_records_that_list_nothing_are_spread_over_the_splits(tmp_path):
    """Of ten among sixty, 3.7 belong to the test split, 1 to validation and 5.3 to training."""
    made = draft(tmp_path, num=60, nothing=range(0, 60, 6))
    counts = {
        split: sum(not record.answer.spans for record in records)
        for split, records in made.data.splits.items()
    }
    assert 3 <= counts["test"] <= 5
    assert 0 <= counts["validation"] <= 2
    assert 4 <= counts["train"] <= 6
    assert (
        "nothing to list: in 10 of 60 records; if new texts are like them, adapt with "
        "--set data.nothing_share=0.17, and as many answers list nothing"
    ) in made.found
