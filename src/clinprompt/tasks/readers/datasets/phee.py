"""Read PHEE's drug events as relations. Knows nothing of other event sets.

Every drug in the treatment of an event is linked to every *effect*, *dosage* and *route* of that
event. Of an argument in several fragments, the first is read. Triggers, subjects, severities and
events nested in a treatment (combinations) make no links. The spans of links have no type, as the
type of a link says what its tail is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import listed
from clinprompt.tasks.readers.generic.json_tables import identity, items, load_lines, table
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span


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
        for number, values in load_lines(file):
            with file.errors_at(number):
                yield _record(values, given=self.given)


def _record(sentence: Mapping[str, object], *, given: bool) -> Record:
    context = sentence.get("context")
    if not isinstance(context, str):
        raise DataError("no text 'context'")
    events = [
        _arguments(table(event, "event"), context)
        for annotation in items(sentence, "annotations", "line")
        for event in items(table(annotation, "annotation"), "events", "annotation")
    ]
    relations = {relation for event in events for relation in _relations(event)}
    ordered = sorted(relations, key=lambda link: (link.head, link.tail, link.type))
    name = identity(sentence, "id", "line")
    fields = {"text": context}
    if given:
        fields["mentions"] = listed(context, {span for event in events for span in event})
    return Record(name, fields, RelationsAnswer(tuple(ordered)))


def _arguments(event: Mapping[str, object], context: str) -> tuple[Span, ...]:
    """Return the spans of an event's arguments, with the argument's role as type."""
    treatment = table(event.get("Treatment") or {}, "Treatment")
    holders = {"drug": treatment, "effect": event, "dosage": treatment, "route": treatment}
    return tuple(
        span
        for kind, holder in holders.items()
        for span in _spans(holder.get(kind.capitalize()), kind, context)
    )


def _relations(arguments: Sequence[Span]) -> Iterator[Relation]:
    for head, tail in product(arguments, repeat=2):
        if head.type == "drug" and tail.type != "drug":
            yield Relation(tail.type, replace(head, type=""), replace(tail, type=""))


def _spans(argument: object, kind: str, context: str) -> Iterator[Span]:
    if argument is None:
        return
    values = table(argument, kind)
    texts, starts = items(values, "text", kind), items(values, "start", kind)
    if len(texts) != len(starts):
        raise DataError(f"{kind}: {len(texts)} texts but {len(starts)} starts")
    for fragments in zip(texts, starts, strict=True):
        match fragments:
            case [[str(text), *_], [int(start), *_]]:
                if context[start : start + len(text)] != text:
                    raise DataError(f"{kind}: start {start} does not point to the argument's text")
                yield Span(start, start + len(text), kind)
            case _:
                raise DataError(f"{kind}: an argument needs lists of texts and starts")
