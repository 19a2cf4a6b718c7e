r"""Say what answers that list words of a note may be, as one grammar a line. Knows no models.

A grammar is the text of a terminal ``LINE`` in llguidance's form of Lark. It depends on the lines
that are finished, so that nothing is listed twice and the order is that of the note.

A mention begins and ends where a word does: at no place between two letters or digits.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

from clinprompt.tasks.records import one_line

_CHUNK = re.compile(r"[^\W_]+|.")
_NO_BLANK_AT_ENDS = "/[^ ]((?s:.*)[^ ])?/"


class AllowedLines(Protocol):
    """What an answer may be: ``nothing``, or lines of which each depends on those before it."""

    @property
    def nothing(self) -> str:
        """Return the whole answer that lists nothing."""
        ...

    def next_line(self, finished: Sequence[str]) -> str:
        """Return the definition of ``LINE``, the line after the finished ones, or "" for none."""
        ...


class NoteWords:
    """The words of a note in the form of answers: each run of whitespace is one blank."""

    def __init__(self, text: str) -> None:
        self.flat = one_line(text)
        self._chunks = _CHUNK.findall(self.flat)
        self._starts = [found.start() for found in _CHUNK.finditer(self.flat)]

    @cached_property
    def _bounds(self) -> frozenset[int]:
        return frozenset((*self._starts, len(self.flat)))

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
        return tuple(self.flat[start:at] for at in ends if self.flat[at - 1] != " ")

    def define(self, name: str, start: int, escape: re.Pattern[str] | None = None) -> str:
        r"""Return the definition of a terminal: any words from ``start`` on, or "" if none follow.

        A backslash is put before what ``escape`` matches.
        """
        chunks = self._chunks[bisect_left(self._starts, start) :]
        if all(chunk == " " for chunk in chunks):
            return ""
        if escape:
            chunks = [escape.sub(r"\\\g<0>", chunk) for chunk in chunks]
        listed = json.dumps({"substring_chunks": chunks})
        return f"{name}: {name}_CHUNKS & {_NO_BLANK_AT_ENDS}\n{name}_CHUNKS: %regex {listed}"


def one_of(texts: Iterable[str]) -> str:
    """Return an expression that matches any of the texts; there is at least one."""
    return "(" + " | ".join(json.dumps(text, ensure_ascii=False) for text in texts) + ")"
