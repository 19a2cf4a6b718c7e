"""Answer questions: with a letter of multiple choice, with a label, or with free text.

If the context is too long, it is shortened to the passage that matches the question best. Labels
are written and scored as in ``labels``, texts as in ``free_text``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

from numpy.random import Generator

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.free_text import FREE_TEXT
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.labels import (
    ACCURACY,
    CLOSED_LABELS,
    chance_among,
    constant_label,
    label_in,
    label_to_json,
)
from clinprompt.tasks.long.chunks import LengthOf
from clinprompt.tasks.long.passages import best_passage
from clinprompt.tasks.records import Answer, LabelAnswer, Record, TextAnswer, Unparseable, one_line

_LETTER = re.compile(r"\(([a-z])\)|([a-z])(?:[.):,]|$)")


def letters(record: Record) -> tuple[str, ...]:
    """Return the letters of the record's options, first is A.

    Raises:
        DataError: the record has no options, or more than there are letters.
    """
    if not 0 < len(record.options) <= len(ascii_uppercase):
        raise DataError(
            f"record {record.id}: {len(record.options)} options; multiple choice takes 1 to 26"
        )
    return tuple(ascii_uppercase[: len(record.options)])


def render_choice(card: Card, record: Record, answer: Answer) -> str:
    """Return the letter of the right option.

    Raises:
        DataError: the answer is not the letter of one of the options.
    """
    assert isinstance(answer, LabelAnswer)
    known = letters(record)
    if answer.label not in known:
        raise DataError(f"{card.name}: record {record.id}: answer is none of {', '.join(known)}")
    return answer.label


def parse_choice(_card: Card, record: Record, text: str) -> Answer:
    """Read ``B``, ``b``, ``B.``, ``(B)``, ``B. text of the option``, or an option's exact text."""
    said = one_line(text).casefold()
    known = tuple(ascii_uppercase[: len(record.options)])
    for letter, option in zip(known, record.options, strict=False):
        if said and said == one_line(option).casefold() and said.upper() not in known:
            return LabelAnswer(letter)
    match = _LETTER.match(said)
    letter = (match[1] or match[2]).upper() if match else ""
    return LabelAnswer(letter) if letter in known else Unparseable(text)


def _chance(
    card: Card, records: Sequence[Record], _training: Sequence[Answer], generator: Generator
) -> float:
    """Return the expected score of letters drawn uniformly from those of each question."""
    return chance_among(card, records, [letters(record) for record in records], generator)


def _passage(
    record: Record, cut: tuple[str, ...], length_of: LengthOf, limit: int
) -> Mapping[str, str] | None:
    """Return the passage of the context that matches the question best.

    In training the record has its answer; passages that contain a free-text answer are preferred.
    """
    if len(cut) != 1 or "question" not in record.fields or cut[0] == "question":
        return None
    context, question = record.fields[cut[0]], record.fields["question"]
    answer = record.answer.text if isinstance(record.answer, TextAnswer) else ""
    start, end = best_passage(context, question, length_of, limit, answer=answer)
    return {cut[0]: context[start:end]}


MULTIPLE_CHOICE = Kind(
    answer=LabelAnswer,
    render=render_choice,
    parse=parse_choice,
    to_json=label_to_json,
    choices=lambda _, record: letters(record),
    labels_for=lambda _, record: tuple(ascii_uppercase[: len(record.options)]),
    labels_in=label_in,
    metrics=(ACCURACY,),
    chance=_chance,
    constant=constant_label,
    shorten=_passage,
    has_labels=False,
)
LABELED_QUESTION = replace(CLOSED_LABELS, shorten=_passage)
OPEN_QUESTION = replace(FREE_TEXT, shorten=_passage)
