"""An answer comes back from its plain values; wrong values are refused by their place."""

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import answer_to_json
from clinprompt.tasks.kinds.answer_values import read_answer, read_correction
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

TEXT = "Takes aspirin 81 mg, later aspirin."
ASPIRIN, DOSE = Span(6, 13, "drug"), Span(14, 19, "")
ANSWERS = {
    "practice-ner-drugs": SpansAnswer((ASPIRIN, Span(27, 34, "drug")), ("zinc",)),
    "practice-re-dose": RelationsAnswer((Relation("dose", Span(6, 13, ""), DOSE),), ("x | y",)),
    "practice-nli-history": LabelAnswer("yes"),
    "practice-sum-plan": TextAnswer("Rest."),
}


def read(task, values, reader=read_correction):
    return reader(find_card(task), Record("n", {"text": TEXT}), values)


@pytest.mark.parametrize("task", ANSWERS)
def test_an_answer_comes_back_from_its_plain_values(task):
    record, card = Record("n", {"text": TEXT}), find_card(task)
    for answer in (ANSWERS[task], Unparseable("what")):
        assert read(task, answer_to_json(card, record, answer), read_answer) == answer


def test_a_correction_is_in_order_without_repeats_and_white_space():
    listed = [
        {"start": 27, "end": 34, "type": "drug", "probability": 0.5},
        {"start": 5, "end": 14, "type": "drug", "text": "whatever"},
        {"start": 6, "end": 13, "type": "drug"},
    ]
    given = {"entities": listed, "ungrounded": ["zinc"], "task": "x"}
    assert read("practice-ner-drugs", given) == SpansAnswer((ASPIRIN, Span(27, 34, "drug")))
    assert read("practice-ner-drugs", {"entities": []}) == SpansAnswer(())


MENTION = {"start": 6, "end": 13, "type": "drug"}
WRONG = {
    "answer": ("practice-ner-drugs", None),
    "answer.entities": ("practice-ner-drugs", {"unparseable": "what"}),
    "answer.entities.0": ("practice-ner-drugs", {"entities": [[6, 13, "drug"]]}),
    "answer.entities.1.start": ("practice-ner-drugs", {"entities": [MENTION, {"end": 3}]}),
    "answer.entities.0.end": (
        "practice-ner-drugs",
        {"entities": [{**MENTION, "end": len(TEXT) + 1}]},
    ),
    "answer.entities.0.type": ("practice-ner-drugs", {"entities": [{**MENTION, "type": 3}]}),
    "answer.relations.0.tail": ("practice-re-dose", {"relations": [{"head": MENTION}]}),
    "answer.label": ("practice-nli-history", {"label": True}),
    "answer.text": ("practice-sum-plan", {"text": "half \ud800"}),
}


@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_value_is_refused_by_its_place(place):
    with pytest.raises(DataError, match=f"^{place.replace('.', chr(92) + '.')}: "):
        read(*WRONG[place])


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("practice-ner-drugs", {"entities": [{**MENTION, "start": True}]}),
        ("practice-ner-drugs", {"entities": [{**MENTION, "start": -1}]}),
        ("practice-ner-drugs", {"entities": [{**MENTION, "start": 13, "end": 14}]}),
        ("practice-ner-drugs", {"entities": [{**MENTION, "type": "zebrafish"}]}),
        ("practice-ner-drugs", {"entities": [{**MENTION, "type": "z" * 201}]}),
        ("practice-ner-drugs", {"entities": [MENTION] * 5001}),
        ("practice-nli-history", {"label": "zebrafish"}),
        ("practice-sum-plan", {"text": " \n"}),
        ("practice-sum-plan", {"text": ["zebrafish"]}),
    ],
)
def test_what_cannot_be_a_correction_is_refused_without_repeating_it(task, values):
    with pytest.raises(DataError) as raised:
        read(task, values)
    assert "zebrafish" not in str(raised.value)
