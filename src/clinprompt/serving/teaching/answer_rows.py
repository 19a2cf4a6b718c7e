"""Lay out notes with their answers as rows: of JSON Lines, or of a table. Knows no files.

A row has the fields of the note by name and its answer. Where it is known what the model had said,
and with which prompt, the row has that, too. There is no column that no row of the task can fill.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import answer_to_json, kind_of
from clinprompt.tasks.kinds.listing import Listing
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.records import (
    Answer,
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

_WRITTEN = "answer"  # an answer that is a text: `text` is the note's
_SPAN = ("text", "type", "start", "end")
_COLUMNS: Mapping[type[Answer], Sequence[str]] = {
    SpansAnswer: ("label", "mention", "start", "end"),
    RelationsAnswer: ("label", *(f"{end}_{name}" for end in ("head", "tail") for name in _SPAN)),
    LabelAnswer: ("label",),
    TextAnswer: (_WRITTEN,),
}
# Columns that may be absent.
_SELDOM = ("options", "ungrounded", "unparseable", "right", "said", "prompt")
_OWN = frozenset(("id", "task", MENTIONS.name, LINKS.name, *_SELDOM)).union(*_COLUMNS.values())
_PREFIX = "note_"  # of all fields of notes, if one has the name of another column
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """A note with its answer; what the model had said, and the digest of its prompt, if known.

    ``values`` is what the model had said in the form of /v1/predict.
    """

    record: Record
    said: Answer | None = None
    values: Mapping[str, Any] | None = None
    prompt: str = ""


def json_rows(card: TaskCard, given: Sequence[Answered]) -> Iterator[Row]:
    """Yield a row for each note; ``said`` has the form of an answer of /v1/predict."""
    for one in given:
        record = one.record
        assert record.answer is not None
        answer = answer_to_json(card, record, record.answer)
        if isinstance(record.answer, TextAnswer):
            answer = {_WRITTEN: answer["text"]}
        options = {"options": list(record.options)} if record.options else {}
        before = {} if one.values is None else {"said": one.values, "prompt": one.prompt}
        note = {"id": record.id, "task": card.name, **_fields(record), **options}
        yield {**note, **answer, **before}


def table(card: TaskCard, given: Sequence[Answered]) -> tuple[list[str], list[Row]]:
    """Return columns and rows: one for each mention or link, else one for each note.

    ``said`` is the label or text that the model had said. Of mentions and links, ``right`` tells
    whether they are in the right answer, and ``said`` whether the model had them; those that only
    the model had follow the right ones. A note without any has one row, and neither value.
    """
    rows = [row for one in given for row in _table_rows(card, one)]
    used = dict.fromkeys(name for row in rows for name in row)
    fields = [name for name in used if name not in _OWN]
    seldom = [name for name in _SELDOM if name in used]
    return ["id", *fields, *_COLUMNS[kind_of(card).answer], *seldom], rows


def _fields(record: Record) -> dict[str, str]:
    prefix = _PREFIX if _OWN & set(record.fields) else ""
    return {f"{prefix}{name}": text for name, text in record.fields.items()}


def _table_rows(card: TaskCard, one: Answered) -> Iterator[Row]:
    record, listing = one.record, kind_of(card).listing
    note: Row = {"id": record.id, **_fields(record)}
    if record.options:
        note["options"] = json.dumps(record.options, ensure_ascii=False)
    if one.said is not None:
        note["prompt"] = one.prompt
    if listing:
        yield from ({**note, **row} for row in _listed(listing, one))
    else:
        said = {} if one.said is None else {"said": _written(one.said)}
        yield {**note, **_plain(record.answer), **said}


def _plain(answer: Answer | None) -> Row:
    """Return the columns of an answer that is a label or a text, or that could not be read."""
    match answer:
        case LabelAnswer(label):
            return {"label": label}
        case TextAnswer(text):
            return {_WRITTEN: text}
        case Unparseable(text):
            return {"unparseable": text}
    raise AssertionError(f"{answer} is a list")


def _written(answer: Answer) -> str:
    [text] = _plain(answer).values()
    return str(text)


def _listed(listing: Listing[Any], one: Answered) -> Iterator[Row]:
    """Yield the columns of each mention or link, or of the answer if it has none."""
    answer = one.record.answer
    assert answer is not None
    said = None if one.said is None else listing.identities(one.said)
    lost: Row = {"unparseable": answer.text} if isinstance(answer, Unparseable) else {}
    if num := listing.num_ungrounded(answer):
        lost = {"ungrounded": num}
    items, wrong = listing.items(answer), _only_said(listing, one)
    if not items and not wrong:
        yield lost
    for item in items:
        is_said = said is not None and listing.identity(item) in said
        known = {} if said is None else {"right": "yes", "said": "yes" if is_said else "no"}
        yield _columns(one.record, item) | lost | known
    for item in wrong:
        yield _columns(one.record, item) | lost | {"right": "no", "said": "yes"}


def _only_said(listing: Listing[Any], one: Answered) -> list[Any]:
    """Return the mentions or links that the model had said and that are not right."""
    right = listing.identities(one.record.answer)
    return [item for item in listing.items(one.said) if listing.identity(item) not in right]


def _columns(record: Record, item: Span | Relation) -> Row:
    if isinstance(item, Span):
        mention = record.text[item.start : item.end]
        return {"label": item.type, "mention": mention, "start": item.start, "end": item.end}
    ends = {"head": item.head, "tail": item.tail}
    named = {
        f"{end}_{name}": value for end, span in ends.items() for name, value in _end(record, span)
    }
    return {"label": item.type, **named}


def _end(record: Record, span: Span) -> Iterator[tuple[str, Any]]:
    text = record.text[span.start : span.end]
    return zip(_SPAN, (text, span.type, span.start, span.end), strict=True)
