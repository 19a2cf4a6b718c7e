"""Read PHEE's drug events as relations. Knows nothing of other event sets.

Within one event every drug of its treatment is the head of a link to every *effect*, *dosage* and
*route* of that event. An argument in several pieces is taken by its first piece. Triggers,
subjects, severities and the events nested in a treatment (combinations) make no link. The spans
bear no type: the link's type says what its tail is.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clinprompt.errors import DataError
from clinprompt.tasks.example import Record, Relation, RelationsAnswer, Span
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.json_tables import identity, items, parse_object, table


class PheeReader(BaseModel):
    """Read one record a sentence; its relations are "effect", "dosage" and "route"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["phee"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record a line; blank lines are passed over.

        Raises:
            DataError: a line is not JSON, or an argument does not stand where it says.
        """
        for number, line in file.lines():
            if line.strip():
                values = parse_object(file, line, number)
                try:
                    yield _record(values)
                except DataError as error:
                    raise file.error(str(error), number) from error


def _record(sentence: Mapping[str, object]) -> Record:
    context = sentence.get("context")
    if not isinstance(context, str):
        raise DataError("no text 'context'")
    relations = {
        relation
        for annotation in items(sentence, "annotations", "line")
        for event in items(table(annotation, "annotation"), "events", "annotation")
        for relation in _relations(table(event, "event"), context)
    }
    ordered = sorted(relations, key=lambda link: (link.head, link.tail, link.type))
    name = identity(sentence, "id", "line")
    return Record(name, {"text": context}, RelationsAnswer(tuple(ordered)))


def _relations(event: Mapping[str, object], context: str) -> Iterator[Relation]:
    treatment = table(event.get("Treatment") or {}, "Treatment")
    drugs = tuple(_spans(treatment.get("Drug"), "drug", context))
    tails = {"effect": event, "dosage": treatment, "route": treatment}
    for kind, held in tails.items():
        for drug, tail in product(drugs, _spans(held.get(kind.capitalize()), kind, context)):
            yield Relation(kind, drug, tail)


def _spans(argument: object, kind: str, context: str) -> Iterator[Span]:
    if argument is None:
        return
    values = table(argument, kind)
    texts, starts = items(values, "text", kind), items(values, "start", kind)
    if len(texts) != len(starts):
        raise DataError(f"{kind}: {len(texts)} texts but {len(starts)} starts")
    for pieces in zip(texts, starts, strict=True):
        match pieces:
            case [[str(text), *_], [int(start), *_]]:
                if context[start : start + len(text)] != text:
                    raise DataError(f"{kind}: start {start} does not point to the argument's text")
                yield Span(start, start + len(text), "")
            case _:
                raise DataError(f"{kind}: an argument needs lists of texts and starts")
