"""Measure how long a task's answers are relative to their texts. Knows no tokenizer, no models.

Windows of a long note must be short enough for the maximum length of an answer. The answer is not
known when windows are made, so its length is estimated from annotated notes.
"""

from collections.abc import Sequence

from clinprompt.tasks.kinds.kind import Card
from clinprompt.tasks.kinds.wording import render_answer
from clinprompt.tasks.records import Record

_SHARE = 0.95  # of all text that has at most the returned density


def answer_density(card: Card, records: Sequence[Record]) -> float:
    """Return the number of characters in an answer per character of text, its 95th percentile.

    The percentile is weighted by length of text. Records without answer do not count.

    Raises:
        DataError: an answer does not fit the card.
    """
    sizes = [
        (len(render_answer(card, record)) / len(record.text), len(record.text))
        for record in records
        if record.text and record.answer is not None
    ]
    left = _SHARE * sum(length for _, length in sizes)
    for density, length in sorted(sizes):
        left -= length
        if left <= 0:
            return round(density, 2)
    return 0.0
