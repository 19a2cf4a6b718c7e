"""Read the 2010 i2b2/VA challenge: ``.con`` concepts and ``.rel`` relations. Knows no splits.

Each line of the text is one sentence and becomes a document; lines that share a concept or a
relation form one document. Assertions (``.ast``) are not read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.datasets.i2b2_lines import (
    LineField,
    Place,
    Words,
    check_words,
    find_span,
    find_words,
    line_ranges,
    parse_fields,
)
from clinprompt.tasks.readers.datasets.i2b2_texts import companion
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.records import Record, Span

_LAST = "problem"  # a relation runs from a treatment or a test to a problem


class _Relation(NamedTuple):
    type: str
    head: Place
    tail: Place


class I2b2Reader(Settings):
    """Read the sentences of one ``.con`` file with its text and its relations.

    ``texts`` and ``relations`` are addresses relative to the folder of the annotation
    (``test_data.tar.gz!*.txt``). A relation whose ends are in the other order is reversed, so that
    it goes from treatment or test to problem. All sentences of a note form one group.
    """

    name: Literal["i2b2"]
    view: View
    texts: str
    relations: str = ""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if (self.view.answer == "entities") == bool(self.relations):
            raise ValueError("relations goes with view.answer = 'relations' or 'pairs'")
        return self

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records of a note's sentences.

        Raises:
            DataError: text or relations are missing, or a line is damaged, has a place that is not
                in the text, or names a concept that is not annotated.
        """
        text = companion(file, self.texts).text().replace("\r\n", "\n")
        words = find_words(text)
        concepts = _concepts(file, text, words)
        relations = tuple(self._relations(file, concepts))
        joined = [(place.first_line, place.last_line) for place in concepts]
        joined += [(link.head.first_line, link.tail.last_line) for link in relations]
        for first, last in line_ranges(len(words), joined):
            if any(words[first - 1 : last]):
                document = _sentence(file.stem, text, words, concepts, (first, last))
                links = (link for link in relations if first <= link.head.first_line <= last)
                named = tuple(Link(link.type, _key(link.head), _key(link.tail)) for link in links)
                yield from self.view.records(replace(document, links=named, group=file.stem))

    def _relations(
        self, file: DataFile, concepts: Mapping[Place, tuple[Span, ...]]
    ) -> Iterator[_Relation]:
        if not self.relations:
            return
        named = companion(file, self.relations)
        for number, line in named.filled_lines():
            with named.errors_at(number):
                yield _relation(line, concepts)


def _concepts(file: DataFile, text: str, words: Words) -> dict[Place, tuple[Span, ...]]:
    concepts: dict[Place, tuple[Span, ...]] = {}
    pairs = []
    for number, line in file.filled_lines():
        with file.errors_at(number):
            concept, kind = _parts(line, "c", "t")
            span = find_span(words, concept.places, kind.words)
        pairs.append((text[span.start : span.end], concept.words))
        here = concepts.get(concept.places[0], ())
        concepts[concept.places[0]] = here if span in here else (*here, span)
    check_words(file, pairs)
    return concepts


def _relation(line: str, concepts: Mapping[Place, tuple[Span, ...]]) -> _Relation:
    head, kind, tail = _parts(line, "c", "r", "c")
    for end in (head, tail):
        if end.places[0] not in concepts:
            raise DataError("a relation names a concept that is not in the .con file; correct it")
    ends = [head.places[0], tail.places[0]]
    if _is_last(concepts[ends[0]]) and not _is_last(concepts[ends[1]]):
        ends.reverse()
    return _Relation(kind.words, *ends)


def _is_last(spans: tuple[Span, ...]) -> bool:
    return all(span.type == _LAST for span in spans)


def _parts(line: str, *names: str) -> tuple[LineField, ...]:
    """Return the fields of a line after checking their names, and that each "c" has one place."""
    fields = parse_fields(line)
    if tuple(field.name for field in fields) != names:
        raise DataError(f"the line must have the fields {', '.join(names)}; correct it")
    if any(field.name == "c" and len(field.places) != 1 for field in fields):
        raise DataError("a concept needs one place, line:token line:token; correct the line")
    return fields


def _sentence(
    stem: str,
    text: str,
    words: Words,
    concepts: Mapping[Place, tuple[Span, ...]],
    lines: tuple[int, int],
) -> Document:
    """Return some lines of a text as a document with their concepts."""
    first, last = lines
    inside = [place for row in words[first - 1 : last] for place in row]
    start, end = inside[0][0], inside[-1][1]
    entities = {
        _key(place): tuple(Span(s.start - start, s.end - start, s.type) for s in spans)
        for place, spans in concepts.items()
        if first <= place.first_line <= last
    }
    return Document(f"{stem}:{first}", text[start:end], entities)


def _key(place: Place) -> str:
    return f"{place.first_line}.{place.first_token}-{place.last_line}.{place.last_token}"
