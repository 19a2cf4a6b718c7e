"""Records and annotations are counted as publishers count, and compared with the card."""

from types import SimpleNamespace

import pytest
from made_cards import card_of, record_of

from clinprompt.tasks.audit.counts import balances, counts_of, mismatches
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import LabelAnswer, Record, Relation, RelationsAnswer, Span

VALUES = {
    "setting": "gold-entities",
    "reader": {"name": "ddi", "view": {"answer": "pairs", "pairs": [["drug", "drug"]]}},
    "files": {"train": ["a.xml"], "test": ["b.xml"]},
    "resplit": {"validation": 0.5},
    "labels": {"int": "interaction", "none": "none"},
}


def task(train, validation, test, *, answer="label", metric="accuracy", **changes):
    card = card_of("re", answer, metric, **VALUES | changes)
    splits = {"train": train, "validation": validation, "test": test}
    records = {
        split: tuple(
            record_of(f"{split}{n}", "x", LabelAnswer(label)) for n, label in enumerate(labels)
        )
        for split, labels in splits.items()
    }
    return TaskData(card, records)


def problems(data):
    return mismatches(data.card, counts_of(data))


def test_unrelated_pairs_are_rows_but_not_annotations():
    data = task(["int", "none", "none"], ["none"], ["int", "int"])
    assert counts_of(data)["train"] == {"rows": 3, "annotations": 1}
    assert counts_of(data)["test"] == {"rows": 2, "annotations": 2}


def test_positive_labels_are_annotations_or_all_labels_if_none_is_positive():
    labels = {"labels": {"1": "yes", "0": "no"}, "reader": {"name": "conll"}}
    assert counts_of(task(["1", "0"], [], ["0"], **labels, metric="positive_f1", positive="1"))[
        "train"
    ] == {
        "rows": 2,
        "annotations": 1,
    }
    assert counts_of(task(["1", "0"], [], ["0"], **labels))["train"]["annotations"] == 2


def test_every_link_is_an_annotation():
    one = Relation("int", Span(0, 1, ""), Span(2, 3, ""))
    two = Relation("int", Span(2, 3, ""), Span(0, 1, ""))
    record = Record("n", {"text": "a b"}, RelationsAnswer((one, two)))
    data = SimpleNamespace(
        card=task([], [], [], answer="relations", metric="relation_f1").card,
        splits={"train": (record,), "validation": (), "test": ()},
    )
    assert counts_of(data)["train"] == {"rows": 1, "annotations": 2}


def test_a_published_split_counts_its_rows_wherever_resplit_moved_them():
    published = {"train": {"rows": 4, "annotations": 2}, "test": {"rows": 1}}
    data = task(["int", "none"], ["int", "none"], ["int"], published=published)
    assert problems(data) == []
    assert [one.read for one in balances(data.card, counts_of(data))] == [4, 2, 1]


@pytest.mark.parametrize(("stated", "left_out", "added"), [(5, 2, 0), (3, 0, 0), (2, 0, 1)])
def test_published_plus_added_equals_read_plus_left_out(stated, left_out, added):
    lists = {
        name: [{"split": "test", "rows": rows, "reason": "damaged"}]
        for name, rows in (("left_out", left_out), ("added", added))
        if rows
    }
    published = {"test": {"rows": stated}, "all": {"rows": stated + 2}, **lists}
    assert problems(task(["int"], ["none"], ["int"] * 3, published=published)) == []


def test_a_difference_without_a_reason_is_reported():
    left_out = [{"annotations": 2, "reason": "remarks"}, {"annotations": 1, "reason": "copies"}]
    published = {"all": {"rows": 3, "annotations": 6}, "left_out": left_out}
    assert problems(task(["int", "none"], [], ["int"], published=published)) == [
        "published all: 6 annotations stated, but 2 read + 3 left out"
    ]
    published = {"test": {"rows": 1}, "added": [{"split": "test", "rows": 1, "reason": "twice"}]}
    assert problems(task(["int"], [], ["int"], published=published)) == [
        "published test: 1 rows stated + 1 added, but 1 read + 0 left out"
    ]
