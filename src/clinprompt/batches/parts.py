"""Split or shorten examples that are longer than the maximum input: windows, passages.

Knows no models. The kind of the task decides what happens. If answers list annotations of the text,
the text is always read window by window and the answers are joined. Windows are short enough that
most answers fit into ``max_target_tokens``; a window whose known answer does not fit is halved.
A record with a marked pair is always shortened to the sentences of the pair. Other kinds shorten a
record to the part that matters if the encoder ``splits``. The encoder cuts the middle of the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clinprompt.batches.encode import Encoder
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, make_example, render_answer
from clinprompt.tasks.kinds.listing import Listing
from clinprompt.tasks.long.windows import Window, split_record
from clinprompt.tasks.records import Answer, Example, Record

LEAST_ROOM = 16  # tokens; if the wording leaves less room for the text, windows are of no use
OVERLAP = 4  # neighboring windows share one quarter of their maximum length
NUM_TRIES = 4  # to find windows that fit together with the wording, each with a lower limit
ANSWER_COST = 1.2  # a character of an answer costs more tokens than one of a text: types, line ends


@dataclass(frozen=True, slots=True)
class Parts:
    """The examples that a model reads in place of one; without a split, ``windows`` is empty."""

    examples: tuple[Example, ...]
    windows: tuple[Window, ...] = ()
    listing: Listing[Any] | None = None

    def join(self, answers: Sequence[Answer]) -> Answer:
        """Return the answer to the whole example, from the answers to its parts."""
        if self.listing is None:
            [answer] = answers
            return answer
        return self.listing.join(self.windows, answers)

    def join_values(self, values: Sequence[Mapping[Any, float]]) -> Mapping[Any, float]:
        """Return the value of each annotation in the joined answer, from the values by part."""
        if self.listing is None:
            [own] = values
            return own
        return self.listing.join_values(self.windows, values)


def parts_of(card: TaskCard, example: Example, encoder: Encoder) -> Parts:
    """Return the examples that a model reads: only the example itself if it and its answer fit.

    In training the record has its answer, and each window gets the annotations inside it.
    """
    kind, cut = kind_of(card), card.wording.cut
    if kind.listing is not None and cut == ("text",):
        return _in_windows(card, kind.listing, example, encoder)
    may_shorten = encoder.splits or kind.has_setting  # a pair needs both of its mentions
    if kind.shorten is None or not may_shorten or encoder.fits(example):
        return Parts((example,))
    fields = kind.shorten(example.record, cut, encoder.length_of, encoder.room(example))
    return Parts((example if fields is None else _shortened(card, example, fields),))


def _in_windows(card: TaskCard, listing: Listing[Any], example: Example, encoder: Encoder) -> Parts:
    # A window has the lines of the given mentions that are in it, and not the whole list.
    room, given = (
        encoder.room(example),
        encoder.length_of(example.record.fields.get("mentions", "")),
    )
    length = encoder.length_of(example.record.text)
    if room + given < LEAST_ROOM or not length:
        return Parts((example,))
    limit = min(length if encoder.fits(example) else room, _num_answerable(card, encoder))
    for _ in range(NUM_TRIES):
        parts = _windows_of(card, listing, example, encoder, limit)
        # A window may have some tokens more together with the wording than by itself.
        if limit + given < LEAST_ROOM or all(map(encoder.fits, parts.examples)):
            break
        limit -= max(1, abs(limit) // 16)
    return parts


def _windows_of(
    card: TaskCard, listing: Listing[Any], example: Example, encoder: Encoder, limit: int
) -> Parts:
    windows = _split(example.record, listing, encoder, limit)
    if example.target is not None:
        windows = tuple(part for one in windows for part in _halved(card, listing, one, encoder))
    if len(windows) == 1:
        return Parts((example,))
    made = (_part(card, example, window.record) for window in windows)
    return Parts(tuple(made), windows, listing)


def _split(
    record: Record, listing: Listing[Any], encoder: Encoder, limit: int
) -> tuple[Window, ...]:
    overlap = max(0, limit) // OVERLAP
    return split_record(record, encoder.length_of, limit, overlap, answer_within=listing.within)


def _num_answerable(card: TaskCard, encoder: Encoder) -> int:
    """Return about how many tokens of dense text have an answer that fits."""
    limit = encoder.target_limit(card.name)
    if not card.density:
        return encoder.max_input_tokens
    return max(LEAST_ROOM, int(limit / (card.density * ANSWER_COST)))


def _halved(
    card: TaskCard, listing: Listing[Any], window: Window, encoder: Encoder
) -> Iterator[Window]:
    """Yield the window, or its halves (halved again if needed) if its known answer is too long."""
    record = window.record
    limit = encoder.length_of(record.text) // 2 + 1
    if limit < LEAST_ROOM or encoder.answer_fits(card.name, render_answer(card, record)):
        yield window
        return
    halves = _split(record, listing, encoder, limit)
    if len(halves) == 1:  # one mention, too long to be cut
        yield window
        return
    for half in halves:
        is_first = window.is_first and half.is_first
        is_last = window.is_last and half.is_last
        placed = Window(half.record, window.offset + half.offset, is_first, is_last)
        yield from _halved(card, listing, placed, encoder)


def _shortened(card: TaskCard, example: Example, fields: Mapping[str, str]) -> Example:
    part = replace(example.record, fields={**example.record.fields, **fields})
    return replace(_part(card, example, part), is_shortened=True)


def _part(card: TaskCard, whole: Example, record: Record) -> Example:
    return replace(make_example(card, record), instruction=whole.instruction)
