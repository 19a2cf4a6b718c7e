"""What mentions of a task may be is found in its training records, unless its card says it."""

import pytest
from made_cards import card_of
from pydantic import ValidationError

from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.kinds.mention_rules import have_overlap, have_symbols
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span, SpansAnswer

NOTE = "a b + c"


def spans(*places):
    return Record("1", {"text": NOTE}, SpansAnswer(tuple(Span(*one, "x") for one in places)))


def link(head, tail):
    relation = Relation("near", Span(*head, ""), Span(*tail, ""))
    return Record("1", {"text": NOTE}, RelationsAnswer((relation,)))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], None),
        ([spans()], None),
        ([spans((0, 1), (2, 3))], False),
        ([spans((2, 3), (0, 2))], False),  # they touch
        ([spans((0, 3), (2, 3))], True),
        ([spans((0, 7), (2, 3), (6, 7))], True),
        ([spans((0, 1)), spans((0, 1))], False),  # of different records
    ],
)
def test_overlap_is_that_of_mentions_of_one_record(records, expected):
    assert have_overlap(records) is expected


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], None),
        ([spans((0, 1), (4, 7))], False),
        ([spans((0, 1), (4, 5))], True),
        ([link((0, 1), (6, 7))], False),
        ([link((0, 1), (4, 5))], True),
    ],
)
def test_symbols_are_mentions_or_ends_without_letters_and_digits(records, expected):
    assert have_symbols(records) is expected


def test_rules_are_found_kept_and_saved():
    card = find_card("practice-ner-drugs")
    found = load_task(card, None).card
    assert (found.overlap, found.symbols) == (False, False)
    assert TaskCard.model_validate(found.model_dump(mode="json")).overlap is False
    stated = card.model_copy(update={"overlap": True})
    assert load_task(stated, None).card.overlap is True
    labels = load_task(find_card("practice-nli-history"), None).card
    assert (labels.overlap, labels.symbols) == (None, None)


@pytest.mark.parametrize("name", ["overlap", "symbols"])
def test_rules_need_mentions(name):
    with pytest.raises(ValidationError, match=f"{name} has no effect with answer = 'text'"):
        card_of("summarization", "text", **{name: False})
