"""Find out from a task's records what its mentions may be. Knows no wording, no models."""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from clinprompt.tasks.records import Record, RelationsAnswer, Span, SpansAnswer


def have_overlap(records: Iterable[Record]) -> bool | None:
    """Return whether mentions of a record overlap; None if there are no mentions."""
    answers = (record.answer.spans for record in records if isinstance(record.answer, SpansAnswer))
    found = [sorted(spans) for spans in answers if spans]
    # If any spans overlap, two that follow each other in the order of their starts do.
    pairs = chain.from_iterable(map(pairwise, found))
    return any(one.end > other.start for one, other in pairs) if found else None


def have_symbols(records: Iterable[Record]) -> bool | None:
    """Return whether a mention has neither letters nor digits; None if there are no mentions."""
    texts = [record.text[span.start : span.end] for record in records for span in _mentions(record)]
    return any(not any(map(str.isalnum, text)) for text in texts) if texts else None


def _mentions(record: Record) -> Iterator[Span]:
    """Yield the mentions of a record, and both ends of its links."""
    if isinstance(record.answer, SpansAnswer):
        yield from record.answer.spans
    elif isinstance(record.answer, RelationsAnswer):
        yield from chain.from_iterable((link.head, link.tail) for link in record.answer.relations)
