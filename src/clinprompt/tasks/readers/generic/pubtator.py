"""Read PubTator: abstracts with mentions of concepts, and links between concepts.

Knows nothing of the vocabularies of the concepts. An example::

    7|t|Rash after madeupin
    7|a|One patient had a rash.
    7	0	4	Rash	Disease	D1
    7	11	19	madeupin	Chemical	C1
    7	CID	C1	D1

Offsets count characters of title and abstract, joined by one blank. If all mentions of a file have
their own text only when offsets count UTF-16 code units, they are read so.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from pydantic import Field

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.readers.generic.offsets import (
    Counting,
    Written,
    find_counting,
    offset_notes,
    trimmed,
)
from clinprompt.tasks.records import Record, Span

_HEADER = re.compile(r"([^|\t]+)\|([ta])\|(.*)")
_OFFSET = re.compile(r"\d{1,9}")
_NO_CONCEPT = {"", "-", "-1"}

_Block = list[tuple[int, str]]


class PubtatorReader(Settings):
    """Read documents that are separated by blank lines.

    A concept with all its mentions is one entity. A mention of several concepts belongs to each of
    them. A mention without a concept (id ``-1``, ``-`` or none) appears in a view of entities, but
    cannot be an end of a link or a pair. Columns after a mention's
    concept, or after the two ends of a link, are not read.
    """

    name: Literal["pubtator"]
    view: View = Field(description="which task to make of a document")
    separator: Literal["|", ","] = Field(
        default="|", description="what is between the ids of several concepts"
    )
    exclude: str = Field(
        default="", description="a file in the same folder whose documents are left out"
    )

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records that the view makes of each document.

        Raises:
            DataError: a line has no known form, a mention is not at its offsets, a link names a
                concept that the document does not have, or ``exclude`` leaves nothing out.
        """
        excluded = _ids(file.sibling(self.exclude)) if self.exclude else frozenset()
        if self.exclude and not excluded & _ids(file):
            raise file.error(f"shares no document with {self.exclude}; correct reader.exclude")
        counting = _counting(file)
        for block in _blocks(file):
            document = self._document(block, file, counting)
            if document.id in excluded:
                continue
            with file.errors_at(block[0][0]):
                yield from self.view.records(document)

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        yield from offset_notes(_written(file))

    def _document(self, block: _Block, file: DataFile, counting: Counting) -> Document:
        name, text = _header(block, file)
        entities: dict[str, list[Span]] = {}
        links: list[Link] = []
        for number, line in block[2:]:
            match line.split("\t"):
                case [owner, *_] if owner != name:
                    raise file.error(
                        f"not a line of document {name}; separate documents by blank lines", number
                    )
                case [_, start, end, mention, kind, *more] if _are_offsets(start, end):
                    with file.errors_at(number):
                        written = Written(text, ((int(start), int(end)),), mention)
                        span = _span(written, kind, counting)
                    for key in self._keys(span, more[0] if more else ""):
                        entities.setdefault(key, []).append(span)
                case [_, kind, head, tail, *_] if not kind.isdecimal():
                    links.append(Link(kind, head, tail))
                case _:
                    raise file.error("neither a mention nor a link; correct the line", number)
        mentions = {key: tuple(spans) for key, spans in entities.items()}
        return Document(name, text, mentions, tuple(links), group=name)

    def _keys(self, span: Span, concepts: str) -> tuple[str, ...]:
        """Return the concepts of a mention, or its offsets if it has none and entities are read."""
        named = dict.fromkeys(key for key in concepts.split(self.separator))
        keys = tuple(key for key in named if key not in _NO_CONCEPT)
        if keys or self.view.answer != "entities":
            return keys
        return (f"{span.start}-{span.end}",)


def _counting(file: DataFile) -> Counting:
    """Return how the offsets of a file are counted."""
    return find_counting(_written(file))


def _written(file: DataFile) -> list[Written]:
    """Return the mentions of a file as they are written there."""
    mentions = []
    for block in _blocks(file):
        _, text = _header(block, file)
        for _, line in block[2:]:
            match line.split("\t"):
                case [_, start, end, mention, _, *_] if _are_offsets(start, end):
                    mentions.append(Written(text, ((int(start), int(end)),), mention))
    return mentions


def _span(mention: Written, kind: str, counting: Counting) -> Span:
    """Return a mention's span.

    Raises:
        DataError: the mention is not at its offsets.
    """
    [(first, last)] = mention.fragments
    [(start, end)] = counting.fragments(mention.text, mention.fragments)
    if not mention.shown or mention.text[start:end] != mention.shown:
        raise DataError(f"{first}-{last} does not point to the mention; correct the offsets")
    return trimmed(mention.text, Span(start, end, kind))


def _blocks(file: DataFile) -> Iterator[_Block]:
    for is_filled, lines in groupby(file.lines(), key=lambda numbered: bool(numbered[1].strip())):
        if is_filled:
            yield list(lines)


def _header(block: _Block, file: DataFile) -> tuple[str, str]:
    """Return the id of a document and its text.

    Raises:
        DataError: the first two lines are not the title and the abstract of one document.
    """
    found = [_HEADER.fullmatch(line) for _, line in block[:2]]
    match found:
        case [re.Match() as title, re.Match() as abstract] if (title[1], title[2], abstract[2]) == (
            abstract[1],
            "t",
            "a",
        ):
            return title[1], f"{title[3]} {abstract[3]}"
        case _:
            raise file.error(
                "a document must start with the lines ID|t|title and ID|a|abstract", block[0][0]
            )


def _are_offsets(*values: str) -> bool:
    return all(_OFFSET.fullmatch(value) for value in values)


def _ids(file: DataFile) -> frozenset[str]:
    return frozenset(match[1] for _, line in file.lines() if (match := _HEADER.fullmatch(line)))
