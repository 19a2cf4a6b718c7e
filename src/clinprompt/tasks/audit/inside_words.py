"""Find mentions that begin or end inside a word, a sign that offsets count something else."""

from collections.abc import Iterable, Iterator

from clinprompt.tasks.readers.generic.offsets import Counting
from clinprompt.tasks.records import Record, Span, spans_of

_SHARE = 0.2  # of the records with mentions; in less, mentions may well be parts of words
_UTF16 = Counting(in_utf16=True)


def inside_words(records: Iterable[Record]) -> Iterator[str]:
    """Yield a line if many mentions begin or end inside a word, and whether UTF-16 may be why.

    UTF-16 is the likely reason if at least half of these records have no such mention when their
    offsets are taken as counts of UTF-16 code units.
    """
    mentioned = [record for record in records if spans_of(record.answer)]
    inside = [one for one in mentioned if _is_any_inside(one.text, spans_of(one.answer))]
    in_utf16 = sum(_fits_utf16(record) for record in inside)
    start = (
        f"{len(inside)} of {len(mentioned)} records have mentions that begin or end inside a word"
    )
    if in_utf16 and 2 * in_utf16 >= len(inside):
        yield (
            f"{start}; do the offsets count UTF-16 code units? Add the text of each mention "
            "to find out"
        )
    elif inside and len(inside) >= _SHARE * len(mentioned):
        yield f"{start}; check what the offsets count"


def _is_any_inside(text: str, spans: Iterable[Span]) -> bool:
    return any(_is_inside(text, at) for span in spans for at in (span.start, span.end))


def _is_inside(text: str, at: int) -> bool:
    """Return whether the characters before and after a place are letters or digits of one word.

    Letters of scripts without upper and lower case do not count: some write no blanks.
    """
    return 0 < at < len(text) and all(map(_is_in_word, text[at - 1 : at + 1]))


def _is_in_word(character: str) -> bool:
    return character.isdigit() or character.lower() != character.upper()


def _fits_utf16(record: Record) -> bool:
    """Return whether no mention begins or ends inside a word if offsets count UTF-16 code units."""
    spans = spans_of(record.answer)
    places = [_UTF16.characters(record.text, at) for one in spans for at in (one.start, one.end)]
    return all(at is not None and not _is_inside(record.text, at) for at in places)
