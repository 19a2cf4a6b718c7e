"""Say what answers that list words of a note may be, line by line. Knows no models.

A line is one of several sequences of pieces: fixed text, or any words of a passage. It depends on
the lines that are finished, so that nothing is listed twice.

A mention begins and ends where a word does: at no place between two letters or digits. It has a
letter or digit, unless the task has mentions of symbols alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

from clinprompt.tasks.records import one_line

_CHUNK = re.compile(r"[^\W_]+|.")


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A piece of a line: any run of words of a text.

    The text is in UTF-8, with the places (in bytes) where a run may start and end.

    A run that starts at a key of ``first_ends`` must not end before the value.
    """

    text: bytes
    starts: tuple[int, ...]
    ends: frozenset[int]
    first_ends: Mapping[int, int] = field(default_factory=dict)

    def first_end(self, start: int) -> int:
        """Return the first place where a run that starts at a place may end."""
        return self.first_ends.get(start, start + 1)


Piece = str | Passage
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


def words_of(
    text: str, *, symbols: bool, escape: re.Pattern[str] | None = None
) -> tuple[Passage, ...]:
    """Return the words of a note in the form of answers, or nothing if no mention is in them.

    Each run of whitespace becomes one blank, and a backslash is put before what ``escape`` matches.
    Without ``symbols``, every mention has a letter or digit.
    """
    chunks = _CHUNK.findall(one_line(text))
    written = [escape.sub(r"\\\g<0>", chunk) if escape else chunk for chunk in chunks]
    in_bytes = [chunk.encode() for chunk in written]
    offsets = (0, *accumulate(map(len, in_bytes)))
    places = tuple(zip(chunks, offsets, offsets[1:], strict=False))
    first_ends = dict(_first_ends(places, symbols=symbols))
    starts = tuple(start for chunk, start, _ in places if chunk != " " and start in first_ends)
    ends = frozenset(end for chunk, _, end in places if chunk != " ")
    return (Passage(b"".join(in_bytes), starts, ends, first_ends),) if starts else ()


def _first_ends(
    places: Sequence[tuple[str, int, int]], *, symbols: bool
) -> Iterator[tuple[int, int]]:
    """Yield the start of each chunk and where the first whole mention from there on ends."""
    first_end: int | None = None
    for chunk, start, end in reversed(places):
        first_end = end if symbols or _has_word(chunk) else first_end
        if first_end is not None:
            yield start, first_end


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def each_of(texts: Iterable[str], *rest: Piece) -> tuple[tuple[Piece, ...], ...]:
    """Return one sequence of pieces for each text, which comes first; an empty text is left out."""
    return tuple((text, *rest) if text else rest for text in texts)
