"""Measure how long a task's answers are for their texts. Knows no tokenizer and no models.

Windows of a long note must be so short that a model can write what is in them. How short is not
known before the answer is, but it can be learned from annotated notes: by their density.
"""

from collections.abc import Sequence

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import render_answer
from clinprompt.tasks.records import Record

_SHARE = 0.95  # of all text: the rest may be denser


def answer_density(card: TaskCard, records: Sequence[Record]) -> float:
    """Return how many characters of answer a character of text has, in all but the densest texts.

    Those that are denser hold a twentieth of all text. Records without answer do not count.

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
