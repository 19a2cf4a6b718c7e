"""Measure the inputs and answers of a task in tokens, as training reads them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from clinprompt.batches.encode import Encoder
from clinprompt.batches.mixture import sample
from clinprompt.batches.parts import Parts, parts_of
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.records import Example, Record

_INPUT_ROWS = 200  # whose complete inputs are measured


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the 95th percentile and the maximum of some lengths, in tokens."""

    median: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of inputs and answers, and how much of them training uses.

    ``inputs`` are the complete inputs of a random sample; ``answers`` the complete answers of all
    rows, with their end token. ``fitting`` is the share of training answers (those of windows, if
    inputs are split) that are within the length limit; longer ones are not trained on.
    ``lost_links`` counts those of the ``links`` whose two mentions are never in one window; both
    are None if the answers are not links.
    """

    inputs: Spread
    answers: Spread
    fitting: float
    links: int | None
    lost_links: int | None

    def as_row(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def lengths_of(card: TaskCard, records: Sequence[Record], encoder: Encoder) -> Lengths:
    """Measure training records; there must be at least one.

    Raises:
        DataError: a record has no answer, or lacks a field that the card's wording uses.
    """
    length_of = cache(lambda answer: len(encoder.encode_target(answer)))
    examples = [make_example(card, record) for record in records]
    parts = [_parts(card, example, encoder) for example in examples]
    limit = encoder.target_limit(card.name)
    read = [length_of(part.target) for one in parts for part in one.examples]
    return Lengths(
        inputs=_spread(_input_lengths(examples, encoder)),
        answers=_spread([length_of(example.target) for example in examples]),
        fitting=share(sum(length <= limit for length in read), len(read)),
        **_links(card, examples, parts),
    )


def share(part: int, whole: int) -> float:
    """Return part / whole, rounded down to four digits: only a complete whole (or 0) gives 1."""
    return part * 10_000 // whole / 10_000 if whole else 1.0


def _parts(card: TaskCard, example: Example, encoder: Encoder) -> Parts:
    """Return the parts that training reads; only tasks that list items of the text are split."""
    is_split = kind_of(card).listing is not None
    return parts_of(card, example, encoder) if is_split else Parts((example,))


def _links(
    card: TaskCard, examples: Sequence[Example], parts: Sequence[Parts]
) -> dict[str, int | None]:
    listing = kind_of(card).listing
    if listing is None or not listing.may_be_lost:
        return {"links": None, "lost_links": None}
    return {
        "links": sum(len(listing.items(example.record.answer)) for example in examples),
        "lost_links": sum(
            listing.num_lost(example.record, one.windows)
            for example, one in zip(examples, parts, strict=True)
            if one.windows
        ),
    }


def _input_lengths(examples: Sequence[Example], encoder: Encoder) -> list[int]:
    inputs = [example.input for example in sample(examples, _INPUT_ROWS, seed=0)]
    encoded = encoder.tokenizer(inputs, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _spread(lengths: Sequence[int]) -> Spread:
    median, p95 = np.percentile(lengths, [50, 95])
    return Spread(round(median), round(p95), max(lengths))
