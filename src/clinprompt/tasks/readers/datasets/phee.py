"""Read PHEE's drug events as relations. Knows nothing of other event sets.

Every drug in the treatment of an event is linked to every *effect*, *dosage* and *route* of that
event. Of an argument in several fragments, the first is read. Triggers, subjects, severities and
events nested in a treatment (combinations) make no links. The spans of links have no type, as the
type of a link says what its tail is. If all arguments of a file have their own text only when their
starts count UTF-16 code units, they are read so.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import listed
from clinprompt.tasks.readers.generic.json_tables import identity, items, load_lines, table
from clinprompt.tasks.readers.generic.offsets import (
    Counting,
    Written,
    find_counting,
    offset_notes,
    trimmed,
)
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span

_COUNTED_IN_WAYS = re.compile(r"\s*[\r\n\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument of an event: its role, its start as in the file, and its text."""

    kind: str
    start: int
    shown: str

    def written(self, context: str) -> Written:
        """Return its first part, whose end is known in every way to count."""
        part = _COUNTED_IN_WAYS.split(self.shown, maxsplit=1)[0]
        return Written(context, ((self.start, self.start + len(part)),), part)

    def span(self, context: str, counting: Counting) -> Span:
        """Return its span in the context.

        Raises:
            DataError: its text is not at its start.
        """
        start = counting.characters(context, self.start)
        if start is None or context[start : start + len(self.shown)] != self.shown:
            raise DataError(
                f"{self.kind}: start {self.start} does not point to the argument's text"
            )
        return trimmed(context, Span(start, start + len(self.shown), self.kind))


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A line: its number, its values, its text and the arguments of its events."""

    number: int
    values: Mapping[str, object]
    context: str
    events: tuple[tuple[_Argument, ...], ...]


class PheeReader(Settings):
    """Read one record per sentence with the relations "effect", "dosage" and "route".

    With ``given``, the field ``mentions`` lists all drugs, effects, dosages and routes to link.
    """

    name: Literal["phee"]
    given: bool = False

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per line and skip blank lines.

        Raises:
            DataError: a line is not JSON, or an argument is not at its offset.
        """
        sentences = tuple(_sentences(file))
        counting = _counting(sentences)
        for sentence in sentences:
            with file.errors_at(sentence.number):
                yield _record(sentence, counting, given=self.given)

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        yield from offset_notes(_written(tuple(_sentences(file))))


def _sentences(file: DataFile) -> Iterator[_Sentence]:
    for number, values in load_lines(file):
        with file.errors_at(number):
            context = values.get("context")
            if not isinstance(context, str):
                raise DataError("no text 'context'")
            events = tuple(
                tuple(_arguments(table(event, "event")))
                for annotation in items(values, "annotations", "line")
                for event in items(table(annotation, "annotation"), "events", "annotation")
            )
            yield _Sentence(number, values, context, events)


def _counting(sentences: Sequence[_Sentence]) -> Counting:
    """Return how the starts of a file are counted."""
    return find_counting(_written(sentences))


def _written(sentences: Sequence[_Sentence]) -> list[Written]:
    return [
        argument.written(sentence.context)
        for sentence in sentences
        for event in sentence.events
        for argument in event
    ]


def _record(sentence: _Sentence, counting: Counting, *, given: bool) -> Record:
    context = sentence.context
    events = [[one.span(context, counting) for one in event] for event in sentence.events]
    relations = {relation for event in events for relation in _relations(event)}
    ordered = sorted(relations, key=lambda link: (link.head, link.tail, link.type))
    name = identity(sentence.values, "id", "line")
    fields = {"text": context}
    if given:
        fields["mentions"] = listed(context, {span for event in events for span in event})
    return Record(name, fields, RelationsAnswer(tuple(ordered)))


def _arguments(event: Mapping[str, object]) -> Iterator[_Argument]:
    """Yield the arguments of an event."""
    treatment = table(event.get("Treatment") or {}, "Treatment")
    holders = {"drug": treatment, "effect": event, "dosage": treatment, "route": treatment}
    for kind, holder in holders.items():
        yield from _of_role(holder.get(kind.capitalize()), kind)


def _relations(arguments: Sequence[Span]) -> Iterator[Relation]:
    for head, tail in product(arguments, repeat=2):
        if head.type == "drug" and tail.type != "drug":
            yield Relation(tail.type, replace(head, type=""), replace(tail, type=""))


def _of_role(argument: object, kind: str) -> Iterator[_Argument]:
    if argument is None:
        return
    values = table(argument, kind)
    texts, starts = items(values, "text", kind), items(values, "start", kind)
    if len(texts) != len(starts):
        raise DataError(f"{kind}: {len(texts)} texts but {len(starts)} starts")
    for fragments in zip(texts, starts, strict=True):
        match fragments:
            case [[str(text), *_], [int(start), *_]]:
                yield _Argument(kind, start, text)
            case _:
                raise DataError(f"{kind}: an argument needs lists of texts and starts")
