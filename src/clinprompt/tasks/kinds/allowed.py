"""Say what answers that list words of a note may be, line by line. Knows no models.

A line is one of several sequences of pieces: fixed text, or any words of a passage. It depends on
the lines that are finished, so that nothing is listed twice and the order is that of the note.

A mention begins and ends where a word does: at no place between two letters or digits. It has a
letter or digit, unless the task has mentions of symbols alone.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Protocol

from clinprompt.tasks.records import one_line

_CHUNK = re.compile(r"[^\W_]+|.")


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A text in UTF-8, with the places (in bytes) where runs of words may start and end.

    A run that starts at a key of ``first_ends`` must not end before the value.
    """

    text: bytes
    starts: tuple[int, ...]
    ends: frozenset[int]
    first_ends: Mapping[int, int] = field(default_factory=dict)

    def first_end(self, start: int) -> int:
        """Return the first place where a run that starts at a place may end."""
        return self.first_ends.get(start, start + 1)


@dataclass(frozen=True, slots=True)
class Words:
    """A piece of a line: any run of words of a passage that starts at ``start`` or later."""

    passage: Passage
    start: int


Piece = str | Words
"""A part of a line: fixed text that is not empty, or words of a passage."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line may be: one of the sequences of pieces, but none of the texts in ``without``.

    Without ``options``, the answer has no further line.
    """

    options: tuple[tuple[Piece, ...], ...] = ()
    without: frozenset[str] = field(default_factory=frozenset)


class AllowedLines(Protocol):
    """What an answer may be: ``nothing``, or lines of which each depends on those before it."""

    @property
    def nothing(self) -> str:
        """Return the whole answer that lists nothing."""
        ...

    def next_line(self, finished: Sequence[str]) -> Line:
        """Return what the line after the finished ones may be."""
        ...


class NoteWords:
    """The words of a note in the form of answers: each run of whitespace is one blank.

    In the passage, a backslash is put before what ``escape`` matches. Without ``symbols``, every
    mention has a letter or digit.
    """

    def __init__(self, text: str, *, symbols: bool, escape: re.Pattern[str] | None = None) -> None:
        self.flat = one_line(text)
        self._chunks = _CHUNK.findall(self.flat)
        self._starts = [found.start() for found in _CHUNK.finditer(self.flat)]
        self._escape, self._symbols = escape, symbols

    @cached_property
    def _bounds(self) -> frozenset[int]:
        return frozenset((*self._starts, len(self.flat)))

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        """Return where each chunk starts in the passage, in bytes, and the end of the last one."""
        return (0, *accumulate(map(len, self._written)))

    @cached_property
    def _written(self) -> tuple[bytes, ...]:
        if self._escape is None:
            return tuple(chunk.encode() for chunk in self._chunks)
        return tuple(self._escape.sub(r"\\\g<0>", chunk).encode() for chunk in self._chunks)

    @cached_property
    def _passage(self) -> Passage:
        places = tuple(zip(self._chunks, self._offsets, self._offsets[1:], strict=False))
        first_ends = dict(self._first_ends(places))
        return Passage(
            b"".join(self._written),
            tuple(start for chunk, start, _ in places if chunk != " " and start in first_ends),
            frozenset(end for chunk, _, end in places if chunk != " "),
            first_ends,
        )

    def _first_ends(self, places: Sequence[tuple[str, int, int]]) -> Iterator[tuple[int, int]]:
        """Yield the start of each chunk and where the first whole mention from there on ends."""
        first_end: int | None = None
        for chunk, start, end in reversed(places):
            first_end = end if self._symbols or _has_word(chunk) else first_end
            if first_end is not None:
                yield start, first_end

    def places(self, mention: str, start: int) -> Iterator[int]:
        """Yield the starts of a mention at ``start`` or later that begin and end with a word."""
        at = self.flat.find(mention, start)
        while at >= 0:
            if {at, at + len(mention)} <= self._bounds:
                yield at
            at = self.flat.find(mention, at + 1)

    def after_first(self, start: int) -> int:
        """Return the start of the word after the one that starts at ``start``."""
        following = bisect_right(self._starts, start)
        return self._starts[following] if following < len(self._starts) else len(self.flat)

    def shorter(self, mention: str, start: int) -> tuple[str, ...]:
        """Return the beginnings of a mention at ``start`` that end with one of its words."""
        end = start + len(mention)
        first, last = bisect_right(self._starts, start), bisect_right(self._starts, end - 1)
        ends = (self._starts[number] for number in range(first, last))
        texts = (self.flat[start:at] for at in ends if self.flat[at - 1] != " ")
        return tuple(text for text in texts if self._symbols or _has_word(text))

    def onward(self, start: int) -> tuple[Words, ...]:
        """Return the piece of any words from ``start`` on, or nothing if no word follows."""
        offset = self._offsets[bisect_left(self._starts, start)]
        starts = self._passage.starts
        return (Words(self._passage, offset),) if starts and offset <= starts[-1] else ()


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def each_of(texts: Iterable[str], *rest: Piece) -> tuple[tuple[Piece, ...], ...]:
    """Return one sequence of pieces for each text, which comes first; an empty text is left out."""
    return tuple((text, *rest) if text else rest for text in texts)
