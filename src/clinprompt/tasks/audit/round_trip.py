"""Count the gold answers that are unchanged after writing and reading text. Knows no models."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, parse_answer, render_answer
from clinprompt.tasks.records import Answer, Record


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """How many answers, and how many of their annotations, are unchanged as text.

    ``annotations`` are mentions or links, or whole answers of other kinds. ``first_lost`` is the id
    of the first record whose answer changes.
    """

    rows: int
    rows_kept: int
    annotations: int
    annotations_kept: int
    first_lost: str = ""


def count_round_trip(card: TaskCard, records: Iterable[Record]) -> RoundTrip:
    """Write every answer as text, read it again, and count what is unchanged.

    Raises:
        DataError: an answer cannot be written.
    """
    rows = rows_kept = annotations = annotations_kept = 0
    first_lost = ""
    for record in records:
        gold = _parts(card, record.answer)
        again = _parts(card, parse_answer(card, record, render_answer(card, record)))
        rows += 1
        rows_kept += gold == again
        annotations += gold.total()
        annotations_kept += (gold & again).total()
        first_lost = first_lost or ("" if gold == again else record.id)
    return RoundTrip(rows, rows_kept, annotations, annotations_kept, first_lost)


def _parts(card: TaskCard, answer: Answer | None) -> Counter[Hashable]:
    """Count the annotations of an answer, without what text leaves out, or the whole answer."""
    kind = kind_of(card)
    if kind.listing is not None and isinstance(answer, kind.answer):
        return kind.listing.identities(answer)
    return Counter([answer])
