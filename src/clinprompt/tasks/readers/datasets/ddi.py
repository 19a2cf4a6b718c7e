"""Read the DDI corpus: sentences with drugs and their interactions. Knows nothing of other XML.

The offset ``4-9`` includes its last character. ``4-9;15-20`` are the fragments of one mention, of
which the first is read. Whitespace at the end of a sentence is removed. If all mentions of a file
have their own text only when offsets count UTF-16 code units, they are read so.
"""

from collections.abc import Iterator
from typing import Literal

from lxml import etree

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
from clinprompt.tasks.readers.generic.xml_pairs import line_of, parse_xml
from clinprompt.tasks.records import Record, Span


class DdiReader(Settings):
    """Read one document per sentence; ``view`` says which task to make of it.

    The sentences of a file form a group. A pair with ``ddi="true"`` is a link of its ``type``, or
    of the type ``untyped`` if it has none.
    """

    name: Literal["ddi"]
    view: View
    untyped: str = ""

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records that the view makes of each sentence.

        Raises:
            DataError: the file is not XML, a mention is not at its offset, or an interaction has
                no type or names an unknown drug.
        """
        root = parse_xml(file)
        counting = _counting(file, root)
        for sentence in root.iter("sentence"):
            with file.errors_at(line_of(sentence)):
                group = root.get("id") or file.stem
                yield from self.view.records(self._document(sentence, group, counting))

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        yield from offset_notes(_every_mention(file, parse_xml(file)))

    def _document(self, sentence: etree._Element, group: str, counting: Counting) -> Document:
        name = _get(sentence, "id")
        text = _get(sentence, "text")
        entities = {
            _key(_get(entity, "id"), name): (_span(entity, text, counting),)
            for entity in sentence.iter("entity")
        }
        links = tuple(
            Link(self._type(pair), *(_key(_get(pair, end), name) for end in ("e1", "e2")))
            for pair in sentence.iter("pair")
            if _is_interaction(pair)
        )
        return Document(name, text.rstrip(), entities, links, group)

    def _type(self, pair: etree._Element) -> str:
        kind = pair.get("type") or self.untyped
        if not kind:
            raise DataError(f"{_get(pair, 'id')} is true but has no type; set reader.untyped")
        return kind


def _get(element: etree._Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise DataError(f"an element {element.tag!r} has no attribute {name!r}")
    return value


def _key(name: str, sentence: str) -> str:
    """Return the id of an entity without the id of its sentence at its beginning."""
    return name.removeprefix(f"{sentence}.")


def _is_interaction(pair: etree._Element) -> bool:
    value = _get(pair, "ddi")
    if value not in ("true", "false"):
        raise DataError(f"{_get(pair, 'id')}: ddi must be true or false")
    return value == "true"


def _counting(file: DataFile, root: etree._Element) -> Counting:
    """Return how the offsets of a file are counted."""
    return find_counting(_every_mention(file, root))


def _every_mention(file: DataFile, root: etree._Element) -> list[Written]:
    mentions = []
    for sentence in root.iter("sentence"):
        with file.errors_at(line_of(sentence)):
            text = _get(sentence, "text")
            mentions += [_written(entity, text) for entity in sentence.iter("entity")]
    return mentions


def _written(entity: etree._Element, text: str) -> Written:
    """Return the first fragment of a mention, with its text if it is the only one.

    The words of several fragments are not compared, because the corpus joins them in several ways.
    """
    fragments = _get(entity, "charOffset").split(";")
    try:
        first, last = map(int, fragments[0].split("-"))
    except ValueError as error:
        raise DataError(
            f"{_get(entity, 'id')}: charOffset must be like 4-9 or 4-9;15-20"
        ) from error
    shown = _get(entity, "text") if len(fragments) == 1 else None
    return Written(text, ((first, last + 1),), shown)


def _span(entity: etree._Element, text: str, counting: Counting) -> Span:
    written = _written(entity, text)
    [(start, end)] = counting.fragments(text, written.fragments)
    mention = text[start:end]
    if not mention.strip() or written.shown not in (None, mention):
        raise DataError(f"{_get(entity, 'id')}: charOffset does not point to the mention")
    return trimmed(text, Span(start, end, _get(entity, "type")))
