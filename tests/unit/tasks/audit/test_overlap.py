"""Source records that share a run of words with a target record are dropped, and no others."""

import pytest
from made_cards import record_of

from clinprompt.tasks.audit.overlap import drop_copies_of_test, drop_overlapping
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Record, TextAnswer

SHARED = "one two three four five six seven eight nine ten eleven twelve thirteen"


def task(name, **splits):
    return TaskData(find_card(name), {"train": (), "validation": (), "test": ()} | splits)


def test_overlap_drops_exactly_the_planted_row():
    near = SHARED.replace("seven", "another")
    source = task(
        "practice-sum-plan",
        train=(
            record_of("a", near),
            record_of("b", f"before {SHARED.upper()}, after"),
            record_of("c", "x"),
        ),
        validation=(record_of("d", "unlike"),),
    )
    target = task("practice-ner-drugs", test=(record_of("t", f"It says: {SHARED}."),))
    (kept,), dropped = drop_overlapping([source], [target])
    assert [row.id for row in kept.splits["train"]] == ["a", "c"]
    assert [row.id for row in kept.splits["validation"]] == ["d"]
    assert dropped == {"practice-sum-plan": 1}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_target_split_counts(split):
    source = task("practice-sum-plan", train=(record_of("a", SHARED),))
    target = task("practice-ner-drugs", **{split: (record_of("t", SHARED),)})
    assert drop_overlapping([source], [target])[1] == {"practice-sum-plan": 1}


def test_a_run_that_two_sentences_of_a_target_share_counts():
    words = SHARED.split()
    halves = (record_of("t", " ".join(words[:6])), record_of("u", " ".join(words[6:])))
    source = task("practice-sum-plan", train=(record_of("a", SHARED),))
    mentions, texts = (task(n, test=halves) for n in ("practice-ner-drugs", "practice-nli-social"))
    assert drop_overlapping([source], [mentions])[1] == {"practice-sum-plan": 1}
    assert drop_overlapping([source], [texts])[1] == {"practice-sum-plan": 0}


def test_text_answers_and_options_count_too():
    rows = (record_of("a", "x", TextAnswer(SHARED)), record_of("b", "x", options=("y", SHARED)))
    source = task("practice-sum-plan", train=rows)
    target = task("practice-ner-drugs", test=(record_of("t", SHARED),))
    assert drop_overlapping([source], [target])[1] == {"practice-sum-plan": 2}


def test_runs_do_not_cross_from_one_field_to_the_next():
    words = SHARED.split()
    halves = Record("a", {"text": " ".join(words[:6]), "more": " ".join(words[6:])})
    source = task("practice-sum-plan", train=(halves,))
    target = task("practice-ner-drugs", test=(record_of("t", SHARED),))
    assert drop_overlapping([source], [target])[1] == {"practice-sum-plan": 0}


def test_length_of_the_run_is_a_parameter():
    source = task("practice-sum-plan", train=(record_of("a", "alpha beta gamma"),))
    target = task("practice-ner-drugs", test=(record_of("t", "beta gamma delta"),))
    assert drop_overlapping([source], [target], n=3)[1] == {"practice-sum-plan": 0}
    assert drop_overlapping([source], [target], n=2)[1] == {"practice-sum-plan": 1}


def test_training_rows_that_are_test_rows_are_dropped_and_no_others():
    data = task(
        "practice-ner-drugs",
        train=(record_of("a", "On  ASPIRIN, daily."), record_of("b", "On heparin daily.")),
        validation=(record_of("v", "On aspirin daily"),),
        test=(record_of("t", "On aspirin daily"),),
    )
    cleaned, count = drop_copies_of_test(data)
    assert count == 1
    assert [row.id for row in cleaned.splits["train"]] == ["b"]
    assert [row.id for row in cleaned.splits["validation"]] == ["v"]
    assert [row.id for row in cleaned.splits["test"]] == ["t"]
