"""Read an answer back from the plain values that ``answer_to_json`` gives. Knows no models.

Errors begin with the place of the wrong value, such as ``answer.entities.0.end``, and never repeat
the value itself, which may be text of a record.
"""

from collections.abc import Mapping
from typing import Any

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.kind import Card
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.kinds.table import kind_of
from clinprompt.tasks.readers.generic.offsets import trimmed
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
    one_line,
)

_MOST = 5000  # mentions or links of one answer
_LONGEST_TYPE = 200  # characters
_PLACE = "answer"


def read_answer(card: Card, record: Record, values: object) -> Answer:
    """Return the answer to a record of a card's kind from plain values.

    Members that say more, such as probabilities, are ignored. Mentions and links are returned in
    order of appearance, each once, without white space at the ends of mentions.

    Raises:
        DataError: a value is missing or wrong; the message begins with its place.
    """
    found = _object(values, _PLACE)
    if isinstance(found.get("unparseable"), str):
        return Unparseable(str(found["unparseable"]))
    kind = kind_of(card).answer
    if kind is SpansAnswer:
        spans = {_span(record, one, place) for place, one in _items(found, MENTIONS.name)}
        return SpansAnswer(tuple(sorted(spans, key=MENTIONS.order)), _lines(found))
    if kind is RelationsAnswer:
        links = {_link(record, one, place) for place, one in _items(found, LINKS.name)}
        return RelationsAnswer(tuple(sorted(links, key=LINKS.order)), _lines(found))
    if kind is LabelAnswer:
        return LabelAnswer(_text(found, "label", _PLACE))
    return TextAnswer(one_line(_text(found, "text", _PLACE)))


def read_correction(card: Card, record: Record, values: object) -> Answer:
    """Return an answer that a person gave; see ``read_answer``.

    Raises:
        DataError: a value is missing or wrong, or a label is none of the card, or a text is blank.
    """
    if isinstance(values, Mapping):
        values = {name: one for name, one in values.items() if name not in _OF_MODELS}
    answer = read_answer(card, record, values)
    kind = kind_of(card)
    known = kind.labels_for(card, record)
    if not set(kind.labels_in(answer)) <= set(known):
        raise DataError(f"{_PLACE}: has a label that the task lacks; known: {', '.join(known)}")
    if isinstance(answer, TextAnswer) and not answer.text:
        raise DataError(f"{_PLACE}.text: is blank; write a text, or skip the note")
    return answer


_OF_MODELS = {"ungrounded", "unparseable"}


def _items(values: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the items of a list, each with its place."""
    place, found = f"{_PLACE}.{name}", values.get(name)
    if not isinstance(found, list):
        raise DataError(f"{place}: must be a list; an empty one says that there is nothing")
    if len(found) > _MOST:
        raise DataError(f"{place}: has {len(found)} entries; give at most {_MOST}")
    places = [f"{place}.{number}" for number in range(len(found))]
    return [(own, _object(one, own)) for own, one in zip(places, found, strict=True)]


def _link(record: Record, values: Mapping[str, Any], place: str) -> Relation:
    head, tail = (
        _span(record, _object(values.get(end), f"{place}.{end}"), f"{place}.{end}", is_end=True)
        for end in ("head", "tail")
    )
    return Relation(_type(values, place), head, tail)


def _span(record: Record, values: Mapping[str, Any], place: str, *, is_end: bool = False) -> Span:
    start, end = (_offset(values, name, place) for name in ("start", "end"))
    if not start < end <= len(record.text):
        raise DataError(
            f"{place}.end: is not between start and the {len(record.text)} characters of the text; "
            "offsets count characters from 0 and the end is exclusive"
        )
    kind = "" if is_end and "type" not in values else _type(values, place)
    if not record.text[start:end].strip():
        raise DataError(f"{place}: covers no words; remove it")
    return trimmed(record.text, Span(start, end, kind))


def _offset(values: Mapping[str, Any], name: str, place: str) -> int:
    found = values.get(name)
    if type(found) is not int or found < 0:
        raise DataError(f"{place}.{name}: must be a whole number of at least 0")
    return found


def _type(values: Mapping[str, Any], place: str) -> str:
    found = _text(values, "type", place)
    if len(found) > _LONGEST_TYPE:
        raise DataError(f"{place}.type: has more than {_LONGEST_TYPE} characters")
    return found


def _text(values: Mapping[str, Any], name: str, place: str) -> str:
    found = values.get(name)
    if not isinstance(found, str):
        raise DataError(f"{place}.{name}: must be a text in quotes")
    if any("\ud800" <= one <= "\udfff" for one in found):
        raise DataError(f"{place}.{name}: has half a character; send it whole, as UTF-8")
    return found


def _lines(values: Mapping[str, Any]) -> tuple[str, ...]:
    found = values.get("ungrounded", [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DataError(f"{_PLACE}.ungrounded: must be a list of texts")
    return tuple(found)


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{place}: must be an object")
    return value
