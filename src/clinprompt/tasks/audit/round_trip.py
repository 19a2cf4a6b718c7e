"""See which gold answers come back unchanged from their text form. Knows no tokens, no models."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import parse_answer, render_answer
from clinprompt.tasks.records import Answer, Record, RelationsAnswer, SpansAnswer


@dataclass(frozen=True, slots=True)
class Survival:
    """How many answers, written as text and read again, are the same; and how much of them.

    ``annotations`` are mentions or links, else whole answers. ``first_lost`` is the id of the first
    record whose answer is not the same.
    """

    rows: int
    rows_kept: int
    annotations: int
    annotations_kept: int
    first_lost: str = ""


def survival_of(card: TaskCard, records: Iterable[Record]) -> Survival:
    """Write every answer as text, read it again, and count what is the same.

    Raises:
        DataError: an answer cannot be written.
    """
    rows = rows_kept = annotations = annotations_kept = 0
    first_lost = ""
    for record in records:
        gold = _parts(record.answer)
        again = _parts(parse_answer(card, record, render_answer(card, record)))
        rows += 1
        rows_kept += gold == again
        annotations += gold.total()
        annotations_kept += (gold & again).total()
        first_lost = first_lost or ("" if gold == again else record.id)
    return Survival(rows, rows_kept, annotations, annotations_kept, first_lost)


def _parts(answer: Answer | None) -> Counter[object]:
    """Count an answer's parts, without what text leaves out: the types of a link's two ends."""
    match answer:
        case SpansAnswer(spans):
            return Counter(spans)
        case RelationsAnswer(relations):
            return Counter(
                (r.type, r.head.start, r.head.end, r.tail.start, r.tail.end) for r in relations
            )
    return Counter([answer])
