"""Read the 2009 i2b2 challenge: medications with dosage, route and more. Knows no splits.

A line of a ``.m`` or ``.entries`` file is one medication entry. The value ``nm`` (not mentioned)
has no place in the text. Event, time, certainty and list or narrative describe an entry, are no
mentions, and are not read.
"""

from collections.abc import Iterator
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.datasets.i2b2_lines import (
    LineField,
    check_words,
    find_span,
    find_words,
    parse_fields,
)
from clinprompt.tasks.readers.datasets.i2b2_texts import companion
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.records import Record, Span

_BLANKS = " \t"
_DRUG, _DETAILS, _JUDGMENTS = "m", ("do", "mo", "f", "du", "r"), ("e", "t", "c", "ln")
_NOT_MENTIONED = "nm"
_GOLD = "_gold"


class I2b22009Reader(Settings):
    """Read one note from each file of entries; ``texts`` is the address of the notes.

    A value in several fragments is read as one span from the first to the last. A value whose place
    ends after the last word of its line ends with that word. A link goes from the medication to
    each detail of its entry and has the type of the detail.
    """

    name: Literal["i2b2_2009"]
    view: View
    texts: str

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records of one note.

        Raises:
            DataError: the text is missing, a line is damaged, or a place is not in the text.
        """
        stem = file.stem.removesuffix(_GOLD)
        text = companion(file, self.texts, stem).text().replace("\r\n", "\n")
        words = find_words(text, _BLANKS)
        entities: dict[str, tuple[Span, ...]] = {}
        links: dict[Link, None] = {}
        pairs: list[tuple[str, str]] = []
        for number, line in file.filled_lines():
            with file.errors_at(number):
                mentions = [
                    (f, find_span(words, f.places, f.name, clip=True)) for f in _entry(line)
                ]
            entities |= {_key(span): (span,) for _, span in mentions}
            drug = _key(mentions[0][1])
            links |= {Link(f.name, drug, _key(span)): None for f, span in mentions[1:]}
            pairs += [(text[s.start : s.end], f.words) for f, s in mentions if len(f.places) == 1]
        check_words(file, pairs)
        yield from self.view.records(Document(stem, text, entities, tuple(links), stem))


def _entry(line: str) -> list[LineField]:
    """Return the medication of an entry, then the details that are mentioned."""
    fields = parse_fields(line)
    known = {_DRUG, *_DETAILS, *_JUDGMENTS}
    if [f.name for f in fields].count(_DRUG) != 1 or any(f.name not in known for f in fields):
        raise DataError(
            f"an entry must have one field m and only the fields {', '.join(sorted(known))}"
        )
    mentioned = [f for f in fields if f.name in (_DRUG, *_DETAILS) and f.words != _NOT_MENTIONED]
    if any(not f.places for f in mentioned) or _DRUG not in (f.name for f in mentioned):
        raise DataError("a value that is not nm needs its places, and m must have a value")
    return sorted(mentioned, key=lambda field: field.name != _DRUG)


def _key(span: Span) -> str:
    return f"{span.type}{span.start}-{span.end}"
