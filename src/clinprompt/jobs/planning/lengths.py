"""Measure a task in tokens, as training reads it. Knows nothing of counts and splits."""

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

INPUT_ROWS = 200  # of which the whole inputs are measured


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the 95th percentile and the maximum of some lengths, in tokens."""

    median: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long inputs and answers are, and what of them training reads.

    ``inputs`` are whole inputs, of some rows drawn at random; ``answers`` whole answers, of all
    rows, each with its end-of-text. ``fitting`` is the share of the answers that a model is trained
    on, those of windows too, that are within the encoder's limit: the others are left out of
    training. Of ``links``, ``lost_links`` have ends that no window holds together; both are None
    where answers are no links.
    """

    inputs: Spread
    answers: Spread
    fitting: float
    links: int | None
    lost_links: int | None

    def as_row(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def lengths_of(card: TaskCard, records: Sequence[Record], encoder: Encoder) -> Lengths:
    """Measure records that training may read, at least one.

    Raises:
        DataError: a record has no answer, or does not fit the card's wording.
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
    """Return part of whole, cut off after four digits, so that 1 is said only of all (or of 0)."""
    return part * 10_000 // whole / 10_000 if whole else 1.0


def _parts(card: TaskCard, example: Example, encoder: Encoder) -> Parts:
    """Return what training reads; keep the input whole if the answer covers it."""
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
    inputs = [example.input for example in sample(examples, INPUT_ROWS, seed=0)]
    encoded = encoder.tokenizer(inputs, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _spread(lengths: Sequence[int]) -> Spread:
    median, p95 = np.percentile(lengths, [50, 95])
    return Spread(round(median), round(p95), max(lengths))
