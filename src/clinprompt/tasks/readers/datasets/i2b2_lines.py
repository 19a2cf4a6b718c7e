"""Find the words that a line of i2b2's annotation refers to. Knows no types of mention.

A line has fields separated by ``||``, each of the form ``name="words" 3:0 3:1``. A place is
``line:token``; lines count from 1, tokens from 0, and the last token is included. The words are in
lower case and not escaped, so they may contain quotation marks.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from typing import NamedTuple

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Span

_SEPARATOR = re.compile(r"\|\|+\s*(?=\w+=\")")  # some lines have three bars by mistake
_FIELD = re.compile(r"(\w+)=\"(.*)\"([\d:,\s]*)", re.DOTALL)  # greedy: up to the last quote
_TOKEN = re.compile(r"(\d{1,9}):(\d{1,9})")

Words = Sequence[Sequence[tuple[int, int]]]  # start and end of each word of each line


class Place(NamedTuple):
    """From a token of a line to a token of the same or a later line, both included."""

    first_line: int
    first_token: int
    last_line: int
    last_token: int


class LineField(NamedTuple):
    """One field of a line; ``places`` has one entry per fragment of the value, or none."""

    name: str
    words: str
    places: tuple[Place, ...]


def parse_fields(line: str) -> tuple[LineField, ...]:
    """Split a line of annotation into its fields.

    Raises:
        DataError: a field has another form. The reader adds file and line.
    """
    return tuple(_field(part.strip()) for part in _SEPARATOR.split(line.strip().strip("|")))


def _field(part: str) -> LineField:
    match = _FIELD.fullmatch(part)
    if match is None:
        raise DataError('a field is not name="words" with places such as 3:0 3:1; correct the line')
    tokens = [_TOKEN.fullmatch(token) for token in re.split(r"[\s,]+", match[3].strip()) if token]
    numbers = [(int(token[1]), int(token[2])) for token in tokens if token]
    if len(numbers) < len(tokens) or len(numbers) % 2:
        raise DataError("a place needs two ends, line:token line:token; correct the line")
    ends = zip(numbers[::2], numbers[1::2], strict=True)
    return LineField(match[1], match[2], tuple(Place(*first, *last) for first, last in ends))


def find_words(text: str, blanks: str = " ") -> Words:
    """Return start and end of the words of each line; ``blanks`` are what separates words."""
    pattern = re.compile(f"[^{re.escape(blanks)}]+")
    found = []
    start = 0
    for line in text.split("\n"):
        found.append(
            [(start + word.start(), start + word.end()) for word in pattern.finditer(line)]
        )
        start += len(line) + 1
    return found


def find_span(words: Words, places: Iterable[Place], kind: str, *, clip: bool = False) -> Span:
    """Return the span from the first place to the last.

    With ``clip``, a place that ends after the last word of its line ends with that word.

    Raises:
        DataError: a place is not in the text. The reader adds file and line.
    """
    ends = [
        (
            _word(words, place.first_line, place.first_token)[0],
            _word(words, place.last_line, place.last_token, clip=clip)[1],
        )
        for place in places
    ]
    start, end = min(ends)[0], max(end for _, end in ends)
    if any(last <= first for first, last in ends):
        raise DataError("a mention ends before it begins; correct its places")
    return Span(start, end, kind)


def _word(words: Words, line: int, token: int, *, clip: bool = False) -> tuple[int, int]:
    if not 1 <= line <= len(words):
        raise DataError(f"{line}:{token}: the text has {len(words)} lines; correct the place")
    row = words[line - 1]
    number = min(token, len(row) - 1) if clip else token
    if not 0 <= number < len(row):
        raise DataError(f"{line}:{token}: the text's line has {len(row)} words; correct the place")
    return row[number]


def check_words(file: DataFile, pairs: Iterable[tuple[str, str]]) -> None:
    """Check that a text is the annotated one; ``pairs`` are its words and the annotated words.

    Places count more than words: single differences are mistakes of the annotators.

    Raises:
        DataError: more than half of the pairs differ.
    """
    matches = [_squeezed(there) == _squeezed(words) for there, words in pairs]
    wrong = matches.count(False)
    if 2 * wrong > len(matches):
        raise file.error(
            f"{wrong} of {len(matches)} mentions differ from the words at their places in the "
            "text; this is not the annotated text, so fetch text and annotation again"
        )


def _squeezed(words: str) -> str:
    return "".join(unescape(words).casefold().split())


def line_ranges(num_lines: int, joined: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield first and last line of the shortest ranges that keep all joined lines together."""
    kept = {line for first, last in joined for line in range(min(first, last), max(first, last))}
    first = 1
    for line in range(1, num_lines + 1):
        if line not in kept:
            yield first, line
            first = line + 1
