"""Find out how a file counts the characters of its mentions. Knows no formats.

A mention may bring the text that its offsets should cover. Tools written in Java or JavaScript
count UTF-16 code units, in which many symbols take two places; other tools count a line end of
CR LF as one character. If all texts of a file fit one of these ways to count, the file is read so.
White space at the ends of a mention is left out of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Span

Fragments = tuple[tuple[int, int], ...]  # start and end of each
_LAST_OF_ONE_UNIT = "\uffff"


@dataclass(frozen=True, slots=True)
class Written:
    """A mention as it is in a file: its offsets, and the text that it brings (None: it has none).

    ``text`` is the text that the offsets refer to.
    """

    text: str
    fragments: Fragments
    shown: str | None


@dataclass(frozen=True, slots=True)
class Counting:
    """A way to count the characters of a text; offsets in records are of the plain one."""

    in_utf16: bool = False
    line_end_is_one: bool = False

    @property
    def note(self) -> str:
        """Return a line for the user, or nothing for plain characters."""
        ways = [
            *(["count UTF-16 code units, not characters"] if self.in_utf16 else []),
            *(["count CR LF at a line end as one character"] if self.line_end_is_one else []),
        ]
        if not ways:
            return ""
        return (
            f"offsets: {' and '.join(ways)}; they are read so, because every mention then has its "
            "own text"
        )

    @property
    def words(self) -> str:
        """Return what is counted, in words."""
        what = "UTF-16 code units" if self.in_utf16 else "characters"
        return f"{what}, CR LF as one" if self.line_end_is_one else what

    def characters(self, text: str, offset: int) -> int | None:
        """Return the number of characters before an offset, or None if no character starts there.

        An offset beyond the end of the text stays beyond it.
        """
        if self == PLAIN:
            return offset
        places = _places(text, self)
        beyond = offset - next(reversed(places))
        return len(text) + beyond if beyond > 0 else places.get(offset)

    def fragments(self, text: str, fragments: Fragments) -> Fragments:
        """Return fragments with their offsets counted in characters.

        Raises:
            DataError: an offset is inside a character.
        """
        counted = []
        for start, end in fragments:
            first, last = self.characters(text, start), self.characters(text, end)
            if first is None or last is None:
                raise DataError(
                    f"the span {start}-{end} begins or ends inside a character, counted in UTF-16 "
                    "code units as the other spans are; correct its offsets"
                )
            counted.append((first, last))
        return tuple(counted)


PLAIN = Counting()
_WAYS = (
    PLAIN,
    Counting(line_end_is_one=True),
    Counting(in_utf16=True),
    Counting(in_utf16=True, line_end_is_one=True),
)


@lru_cache(maxsize=64)
def _places(text: str, counting: Counting) -> dict[int, int]:
    """Return for each offset the first character that starts there; the last one is the end."""
    places: dict[int, int] = {}
    offset = 0
    for index, character in enumerate(text):
        places.setdefault(offset, index)
        is_uncounted = counting.line_end_is_one and text[index : index + 2] == "\r\n"
        is_wide = counting.in_utf16 and character > _LAST_OF_ONE_UNIT
        offset += 0 if is_uncounted else 2 if is_wide else 1
    places.setdefault(offset, len(text))
    return places


@dataclass(frozen=True, slots=True)
class WrittenSpan:
    """A mention with the offsets of its file; ``shown`` is the text that it brings, if any."""

    span: Span
    shown: str | None

    def written(self, text: str) -> Written:
        """Return the mention with the text that its offsets refer to."""
        return Written(text, ((self.span.start, self.span.end),), self.shown)

    def counted(self, text: str, counting: Counting) -> Span:
        """Return the span with offsets in characters, without white space at its ends.

        Raises:
            DataError: an offset is inside a character, or the span covers only white space.
        """
        [(start, end)] = counting.fragments(text, ((self.span.start, self.span.end),))
        return trimmed(text, Span(start, end, self.span.type))


def trimmed(text: str, span: Span) -> Span:
    """Return a span without the white space at its ends; one outside the text stays as it is.

    Raises:
        DataError: the span covers only white space.
    """
    covered = text[span.start : span.end]
    if not covered or not 0 <= span.start < span.end <= len(text):
        return span
    if not covered.strip():
        raise DataError(
            f"the span {span.start}-{span.end} covers only white space; correct its offsets, or "
            "remove it"
        )
    start = span.start + len(covered) - len(covered.lstrip())
    return Span(start, start + len(covered.strip()), span.type)


def offset_notes(mentions: Sequence[Written]) -> Iterator[str]:
    """Yield what is read differently from the offsets and texts that mentions are written with."""
    counting = find_counting(mentions)
    if counting.note:
        yield counting.note
    if any(_has_white_ends(mention, counting) for mention in mentions):
        yield "white space: left out at the ends of mentions and of the texts that they bring"


def _has_white_ends(mention: Written, counting: Counting) -> bool:
    try:
        fragments = counting.fragments(mention.text, mention.fragments)
    except DataError:  # raised again when the mention is read
        return False
    start, end = min(fragments)[0], max(end for _, end in fragments)
    texts = (mention.text[start:end], mention.shown or "")
    return any(text != text.strip() for text in texts)


def find_counting(mentions: Sequence[Written]) -> Counting:
    """Return the way to count under which most mentions cover their texts, the first of equals."""
    numbers: list[int] = []
    for counting in _WAYS:
        numbers.append(sum(1 for _ in misfits(mentions, counting)))
        if not numbers[-1]:  # nothing is better; in nearly all files this is the first way
            break
    return _WAYS[numbers.index(min(numbers))]


def counting_of(file: DataFile, mentions: Sequence[tuple[int, Written]]) -> Counting:
    """Return the way in which a file counts the offsets of its mentions, given with their lines.

    Raises:
        DataError: no way gives every mention its own text.
    """
    every = [mention for _, mention in mentions]
    counting = find_counting(every)
    if wrong := first_misfit(every, counting):
        place, message = wrong
        raise file.error(message, mentions[place][0])
    return counting


def first_misfit(mentions: Sequence[Written], counting: Counting) -> tuple[int, str] | None:
    """Return the place of a mention that does not fit and why it is refused, or None if all fit.

    A mention that fits no way to count comes before one that fits another way than the others.
    """
    wrong = [*misfits(mentions, counting)]
    if not wrong:
        return None
    without = [place for place in wrong if not any(_covers(mentions[place], way) for way in _WAYS)]
    place = [*without, *wrong][0]
    return place, _misfit_message(mentions[place], counting)


def misfits(mentions: Sequence[Written], counting: Counting) -> Iterator[int]:
    """Yield the places in ``mentions`` of those that cover another text than their own.

    Blanks and line ends may differ. A mention without a text fits.
    """
    for place, mention in enumerate(mentions):
        if mention.shown is not None and not _covers(mention, counting):
            yield place


def _covers(mention: Written, counting: Counting) -> bool:
    try:
        fragments = counting.fragments(mention.text, mention.fragments)
    except DataError:
        return False
    if max(end for _, end in fragments) > len(mention.text):
        return False
    covered = " ".join(mention.text[start:end] for start, end in fragments)
    assert mention.shown is not None
    return covered.split() == mention.shown.split()


def _misfit_message(mention: Written, counting: Counting) -> str:
    """Return why a mention is refused, in a file whose other mentions count in a way."""
    start, end = mention.fragments[0][0], mention.fragments[-1][1]
    own = next((way for way in _WAYS if _covers(mention, way)), None)
    if own is None:
        others = "; the other spans of the file count these" if counting.in_utf16 else ""
        return (
            f"the text of a span is not what its offsets {start}-{end} cover, neither in "
            f"characters nor in UTF-16 code units{others}; correct the offsets, or leave out the "
            "span's text"
        )
    return (
        f"the offsets {start}-{end} of a span fit its text only if they count {own.words}, but "
        f"most spans of the file count {counting.words}; count the same way in all spans"
    )
