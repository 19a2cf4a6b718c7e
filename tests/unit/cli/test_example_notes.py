"""Annotated notes on the screen: what is marked, and which answers are called right."""

import pytest

from clinprompt.cli.example_notes import answer_lines, marked_text
from clinprompt.evaluation.questions import Prediction
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
)

TEXT = "Takes digoxin nightly. Fever. On trazodone TID."
#       0     6       14              30        40


def at(word, kind=""):
    start = TEXT.index(word)
    return Span(start, start + len(word), kind)


def predicted(task, gold, answer, *, text="", probabilities=(), **fields):
    card = find_card(task)
    example = make_example(card, Record("1", {"text": TEXT, **fields}, gold))
    return card, Prediction(example, answer, text, False, probabilities)


def test_mentions_are_in_brackets_and_each_is_called_right_wrong_or_missed():
    gold = SpansAnswer((at("digoxin", "drug"), at("trazodone", "drug")))
    answer = SpansAnswer((at("digoxin", "drug"), at("Fever", "drug")))
    card, found = predicted("practice-ner-drugs", gold, answer, probabilities=(0.981, 0.3))
    marked = marked_text(found.example.record, found)
    assert marked.plain == "Takes [digoxin] nightly. [Fever]. On trazodone TID."
    assert [marked.plain[span.start : span.end] for span in marked.spans] == [
        "[digoxin]",
        "[Fever]",
    ]
    assert list(answer_lines(card, found)) == [
        ("drug: digoxin (6-13), probability 0.98: right", True),
        ("drug: Fever (23-28), probability 0.30: wrong", False),
        ("missed: drug: trazodone (33-42)", False),
    ]


def test_links_show_both_ends_and_a_mention_of_two_links_is_marked_once():
    gold = RelationsAnswer((Relation("frequency", at("digoxin"), at("nightly")),))
    answer = RelationsAnswer(
        (
            Relation("frequency", at("digoxin"), at("nightly")),
            Relation("frequency", at("digoxin"), at("TID")),
        )
    )
    card, found = predicted("practice-re-frequency", gold, answer, probabilities=(0.9, 0.2))
    assert (
        marked_text(found.example.record, found).plain
        == "Takes [digoxin] [nightly]. Fever. On trazodone [TID]."
    )
    assert list(answer_lines(card, found)) == [
        ("frequency: digoxin (6-13) → nightly (14-21), probability 0.90: right", True),
        ("frequency: digoxin (6-13) → TID (43-46), probability 0.20: wrong", False),
    ]


def test_a_note_in_which_nothing_was_found_has_no_brackets():
    card, found = predicted("practice-ner-drugs", SpansAnswer(()), SpansAnswer(()))
    assert marked_text(found.example.record, found).plain == TEXT
    assert list(answer_lines(card, found)) == [("nothing found", True)]


@pytest.mark.parametrize(
    ("label", "line"),
    [
        ("entailment", "answer: yes, probability 0.75: right"),
        ("not_entailment", "answer: no, probability 0.75: the correct answer is yes"),
    ],
)
def test_a_label_has_its_probability_and_the_correct_one(label, line):
    word = {"entailment": " yes", "not_entailment": " no"}[label]
    card, found = predicted(
        "practice-nli-social",
        LabelAnswer("entailment"),
        LabelAnswer(label),
        text=word,
        probabilities=(0.75,),
        statement="The patient has a job.",
    )
    assert list(answer_lines(card, found)) == [(line, label == "entailment")]
