"""Practice records are reproducible, match their notes, are balanced, and differ between splits."""

from collections import Counter
from typing import get_args

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.kinds import make_example, parse_answer, render_answer
from clinprompt.tasks.practice.notes import PracticeTask, SourceTask, TargetTask, make_records
from clinprompt.tasks.practice.words import SOURCE_WORDS, TARGET_WORDS
from clinprompt.tasks.readers.datasets.practice_notes import PracticeReader
from clinprompt.tasks.records import spans_of
from clinprompt.tasks.suite import find_suite

SOURCES, TARGETS = get_args(SourceTask), get_args(TargetTask)
TASKS = (*SOURCES, *TARGETS)


def drawn(task, split="train", count=120, seed=0):
    return list(make_records(task, split, count=count, seed=seed))


def test_suite_names_practice_tasks_of_both_sides():
    """Two sources are left out, so that the demo is short."""
    suite = find_suite("practice")
    left_out = {"practice-qa-choice", "practice-nli-medication"}
    assert set(suite.sources) == {f"practice-{task}" for task in SOURCES} - left_out
    assert suite.targets == tuple(f"practice-{task}" for task in TARGETS)
    assert set(get_args(PracticeTask)) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_gives_the_same_records(task):
    assert drawn(task) == drawn(task)
    assert drawn(task) != drawn(task, seed=1)


@pytest.mark.parametrize("task", TASKS)
def test_no_note_is_in_two_splits_or_twice_in_one_whatever_the_seed(task):
    texts = {
        split: {record.text for seed in (0, 1) for record in drawn(task, split, seed=seed)}
        for split in SPLITS
    }
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert len({record.text for record in drawn(task)}) == 120


@pytest.mark.parametrize("task", TASKS)
def test_notes_are_short(task):
    assert all(len(record.text.split()) <= 45 for record in drawn(task))


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        ("ner-problems", ("problem",)),
        ("ner-labs", ("test",)),
        ("ner-drugs", ("drug",)),
        ("re-dose", ("drug", "dose")),
        ("re-frequency", ("drug", "frequency")),
    ],
)
def test_offsets_hold_words_of_their_kind(task, kinds):
    vocabulary = TARGET_WORDS if task in TARGETS else SOURCE_WORDS
    known = {word.casefold() for kind in kinds for word in vocabulary[kind]}
    spans = [(row.text, span) for row in drawn(task) for span in spans_of(row.answer)]
    assert spans
    assert all(text[span.start : span.end].casefold() in known for text, span in spans)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "sum-plan"])
def test_answers_are_balanced(task):
    card = find_card(f"practice-{task}")
    targets = Counter(render_answer(card, row) for row in drawn(task))
    if card.answer in ("spans", "relations"):
        assert targets["none"] == 30  # a quarter of 120
    else:
        choices = len(targets)
        assert set(targets.values()) == {120 // choices}


@pytest.mark.parametrize("task", TASKS)
def test_every_card_renders_and_every_answer_comes_back(task):
    card = find_card(f"practice-{task}")
    for split in SPLITS:
        for row in card.reader.read_split(split):
            example = make_example(card, row)
            assert example.pieces[1] == row.text
            assert not example.choices or example.target in example.choices
            assert parse_answer(card, row, example.target) == row.answer


def test_targets_use_words_that_no_source_has():
    assert set(TARGET_WORDS["drug"]) - set(SOURCE_WORDS["drug"])
    assert set(TARGET_WORDS["frequency"]) - set(SOURCE_WORDS["frequency"])


@pytest.mark.parametrize("record", drawn("qa-choice", count=40), ids=lambda record: record.id)
def test_right_option_is_in_the_note_and_options_differ(record):
    right = record.options["ABCD".index(record.answer.label)]
    assert right.casefold() in record.text.casefold()
    assert len(set(record.options)) == 4


def test_reader_gives_as_many_records_as_asked():
    reader = PracticeReader(name="practice", task="ner-drugs", train=7, validation=2, test=0)
    assert [len(list(reader.read_split(split))) for split in SPLITS] == [7, 2, 0]


def test_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'dev'"):
        list(PracticeReader(name="practice", task="ner-drugs").read_split("dev"))
