"""Cut text into stretches that stay whole: sentences, or words where a sentence is long.

Knows no tokenizer and no records. Sentences are found by a rule of thumb, at line ends and at marks
before a capital or a digit: good enough for where a window may end, not for linguistics.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

LengthOf = Callable[[str], int]  # how many tokens a text has, without marks of begin and end

# A line's end, or a mark before a blank and a capital or digit. Blanks go with what follows them,
# as tokenizers have it; so a text has about as many tokens as its pieces have together.
_BREAK = re.compile(r"\n(?:[ \t\r]*\n)*|[.!?][)\]\"']*(?=[ \t]+(\S))")
_WORD = re.compile(r"\s*\S+|\s+")
_LAST_WORD = re.compile(r"(?:^|[\s(\[])([^\s(\[]{1,12})$")
_ABBREVIATIONS = frozenset(
    """
    dr mr mrs ms prof st vs mg mcg g kg ml cc cm mm approx ca e.g i.e etc fig figs al no nos
    pt pts hr hrs min sec wk yr yrs mo tab tabs cap caps inj vit dx hx rx tx sx fx p.o i.v i.m s.c
    b.i.d t.i.d q.i.d q.d p.r.n bid tid prn resp temp ext abd dept ref incl
    """.split()  # noqa: SIM905 - words read better as words
)


class Piece(NamedTuple):
    """A stretch of a text that is never cut, and how many tokens it has by itself."""

    start: int
    end: int
    length: int


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence begins and ends; together they are the whole text."""
    start = 0
    for found in _BREAK.finditer(text):
        if found.end() < len(text) and _ends_sentence(text, found):
            yield start, found.end()
            start = found.end()
    if start < len(text):
        yield start, len(text)


def cut(text: str, length_of: LengthOf, limit: int) -> list[Piece]:
    """Return the text's sentences; instead of one above the limit its words, or halves of words.

    Just a single letter may be above the limit. Every stretch is measured once by itself.
    """
    return [
        piece
        for start, end in sentences(text)
        for piece in _small(text, start, end, length_of, limit)
    ]


def fit(text: str, pieces: Sequence[Piece], first: int, length_of: LengthOf, limit: int) -> int:
    """Return behind which piece a window that begins at ``first`` ends: it has one at least."""
    last, length = first + 1, pieces[first].length
    while last < len(pieces) and length + pieces[last].length <= limit:
        length += pieces[last].length
        last += 1
    # A text may have more tokens than its pieces have by themselves.
    while last - first > 1 and length_of(text[pieces[first].start : pieces[last - 1].end]) > limit:
        last -= 1
    return last


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    following = found.group(1)
    if following is None:
        return True
    if not (following.isupper() or following.isdigit()):
        return False
    word = _LAST_WORD.search(text, max(0, found.start() - 13), found.start())
    return not (text[found.start()] == "." and word and _is_abbreviation(word.group(1)))


def _is_abbreviation(word: str) -> bool:
    return (len(word) == 1 and word.isupper()) or word.casefold() in _ABBREVIATIONS


def _small(text: str, start: int, end: int, length_of: LengthOf, limit: int) -> Iterator[Piece]:
    length = length_of(text[start:end])
    if length <= limit or end - start == 1:
        yield Piece(start, end, length)
        return
    parts = [found.span() for found in _WORD.finditer(text, start, end)]
    if len(parts) == 1:
        parts = [(start, (start + end) // 2), ((start + end) // 2, end)]
    for first, last in parts:
        yield from _small(text, first, last, length_of, limit)
