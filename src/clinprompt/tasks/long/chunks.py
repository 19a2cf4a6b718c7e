"""Cut text into chunks that stay whole: sentences, or words if a sentence is too long.

Knows no tokenizer and no records. Sentences end at line ends and at punctuation before a capital or
a digit. This simple rule is good enough to choose where a window may end.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

LengthOf = Callable[[str], int]  # number of tokens of a text, without begin and end tokens

# A line end, or punctuation before a blank and a capital or digit. Blanks belong to the text after
# them as in tokenizers, so a text has about as many tokens as all its chunks.
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


class Chunk(NamedTuple):
    """A part of a text that is never cut, with its number of tokens."""

    start: int
    end: int
    length: int


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence; together they are the whole text."""
    start = 0
    for found in _BREAK.finditer(text):
        if found.end() < len(text) and _ends_sentence(text, found):
            yield start, found.end()
            start = found.end()
    if start < len(text):
        yield start, len(text)


def cut(text: str, length_of: LengthOf, limit: int) -> list[Chunk]:
    """Return the sentences of a text; one above the limit is cut into words, or halves of words.

    Only a single letter may be above the limit. Every chunk is measured once.
    """
    return [
        chunk
        for start, end in sentences(text)
        for chunk in _small(text, start, end, length_of, limit)
    ]


def fit(text: str, chunks: Sequence[Chunk], first: int, length_of: LengthOf, limit: int) -> int:
    """Return the end (last + 1) of the longest window from ``first``; it has at least one chunk."""
    last, length = first + 1, chunks[first].length
    while last < len(chunks) and length + chunks[last].length <= limit:
        length += chunks[last].length
        last += 1
    # A text may have more tokens than the sum over its chunks.
    while last - first > 1 and length_of(text[chunks[first].start : chunks[last - 1].end]) > limit:
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


def _small(text: str, start: int, end: int, length_of: LengthOf, limit: int) -> Iterator[Chunk]:
    length = length_of(text[start:end])
    if length <= limit or end - start == 1:
        yield Chunk(start, end, length)
        return
    parts = [found.span() for found in _WORD.finditer(text, start, end)]
    if len(parts) == 1:
        parts = [(start, (start + end) // 2), ((start + end) // 2, end)]
    for first, last in parts:
        yield from _small(text, first, last, length_of, limit)
