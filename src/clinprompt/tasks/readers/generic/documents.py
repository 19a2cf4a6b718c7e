"""Turn an annotated document into records: mentions, links, or candidate pairs. Knows no files.

Readers of annotated text (brat, PubTator, event sets ...) give documents; the card's view says
which task they make. *Entities* asks for mentions. *Relations* asks for links, end to end, or with
the mentions listed (``given``). *Pairs* asks for the label of one marked pair at a time.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, Self

from pydantic import model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    one_line,
)

HEAD, TAIL = ("<<", ">>"), ("[[", "]]")
_MARKED = re.compile(r"<< .+? >>|\[\[ .+? \]\]", re.DOTALL)

_End = tuple[Span, str]


@dataclass(frozen=True, slots=True)
class Link:
    """A typed link from one entity to another, by their keys."""

    type: str
    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class Document:
    """Annotated text. ``entities`` holds the mentions of each entity by its key, at least one each.

    Where annotation is of mentions, every entity has one; where it is of concepts, as many as the
    text names it. Documents with one ``group`` stay in one split.
    """

    id: str
    text: str
    entities: Mapping[str, tuple[Span, ...]]
    links: tuple[Link, ...] = ()
    group: str = ""


class View(Settings):
    """Which task a document makes.

    ``types`` and ``link_types`` keep only those (empty: all). With ``given``, a field ``mentions``
    lists the mentions of the ``types`` to link, as ``listed`` writes them. ``pairs`` are the
    (head type, tail type) of candidates; a candidate without a link has the label ``negative``.
    Where links are not ``directed``, or both ends are of one type, the end that appears first is
    the head of a candidate. Of several links between two ends, the first that ``link_types`` names
    counts. Candidates of which all mentions overlap are left out: a marked pair cannot show them.
    Without ``self_links`` so are links from words to the very same words.
    """

    answer: Literal["entities", "relations", "pairs"]
    types: tuple[str, ...] = ()
    link_types: tuple[str, ...] = ()
    given: bool = False
    pairs: tuple[tuple[str, str], ...] = ()
    negative: str = "none"
    directed: bool = True
    self_links: bool = True

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if (self.answer == "pairs") != bool(self.pairs):
            raise ValueError("pairs goes with answer = 'pairs', which needs it")
        if self.answer == "entities" and (self.link_types or self.given or not self.directed):
            raise ValueError(
                "link_types, given and directed have no effect with answer = 'entities'"
            )
        if not self.self_links and self.answer != "relations":
            raise ValueError("self_links has no effect without answer = 'relations'")
        return self

    def records(self, document: Document) -> Iterator[Record]:
        """Yield the records that a document makes: one, or one for each candidate pair.

        Raises:
            DataError: a link names an entity that the document lacks.
        """
        for link in document.links:
            for key in (link.head, link.tail):
                if key not in document.entities:
                    raise DataError(f"document {document.id}: a link names {key!r}, not annotated")
        if self.answer == "pairs":
            yield from self._pairs(document)
            return
        mentions = tuple(sorted(set(self._mentions(document))))
        fields = {"text": document.text}
        if self.given:
            fields["mentions"] = listed(document.text, mentions)
        answer = (
            SpansAnswer(mentions)
            if self.answer == "entities"
            else RelationsAnswer(tuple(sorted(set(self._relations(document)))))
        )
        yield Record(document.id, fields, answer, group=document.group)

    def _mentions(self, document: Document) -> Iterator[Span]:
        for spans in document.entities.values():
            yield from (span for span in spans if not self.types or span.type in self.types)

    def _links(self, document: Document) -> Iterator[Link]:
        for link in document.links:
            if not self.link_types or link.type in self.link_types:
                yield link

    def _relations(self, document: Document) -> Iterator[Relation]:
        for link in self._links(document):
            head, tail = _nearest(document.entities[link.head], document.entities[link.tail])
            if not self.directed and tail < head:
                head, tail = tail, head
            if self.self_links or (head.start, head.end) != (tail.start, tail.end):
                yield Relation(link.type, head, tail)

    def _pairs(self, document: Document) -> Iterator[Record]:
        labels = self._labels(document)
        for keys in combinations(document.entities, 2):
            spans = _nearest_apart(*(document.entities[key] for key in keys))
            first, second = sorted(zip(spans, keys, strict=True))
            if not _overlap(*spans):
                for (head, head_key), (tail, tail_key) in self._asked(first, second):
                    yield Record(
                        f"{document.id}:{head_key}-{tail_key}",
                        {"text": _marked(document.text, head, tail)},
                        LabelAnswer(self._label(labels, head, tail, (head_key, tail_key))),
                        group=document.group or document.id,
                    )

    def _labels(self, document: Document) -> dict[tuple[str, str], str]:
        """Return the type of each linked pair: of several, the first that ``link_types`` names."""
        links = list(self._links(document))
        if self.link_types:
            links.sort(key=lambda link: self.link_types.index(link.type))
        return {(link.head, link.tail): link.type for link in reversed(links)}

    def _label(
        self, labels: Mapping[tuple[str, str], str], head: Span, tail: Span, keys: tuple[str, str]
    ) -> str:
        forth, back = labels.get(keys), labels.get(keys[::-1])
        is_either = not self.directed or head.type == tail.type
        return forth or (back if is_either else None) or self.negative

    def _asked(self, first: _End, second: _End) -> tuple[tuple[_End, _End], ...]:
        """Return the directions in which two ends, in order of appearance, make a candidate.

        They never depend on links: a direction that did would give the label away.
        """
        ways = ((first, second), (second, first))
        types = [(head.type, tail.type) for (head, _), (tail, _) in ways]
        if not self.directed:
            return ways[:1] if set(types) & set(self.pairs) else ()
        fitting = tuple(way for way, both in zip(ways, types, strict=True) if both in self.pairs)
        return fitting[:1] if types[0] == types[1] else fitting


def _nearest(heads: tuple[Span, ...], tails: tuple[Span, ...]) -> tuple[Span, Span]:
    """Return the mentions of two entities that lie nearest to each other, the earlier on a tie."""
    return min(product(heads, tails), key=lambda pair: (_gap(*pair), pair))


def _nearest_apart(heads: tuple[Span, ...], tails: tuple[Span, ...]) -> tuple[Span, Span]:
    """Return the nearest mentions that do not overlap, where there are such."""
    return min(product(heads, tails), key=lambda pair: (_overlap(*pair), _gap(*pair), pair))


def _gap(one: Span, other: Span) -> int:
    return max(one.start - other.end, other.start - one.end, 0)


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def listed(text: str, mentions: Iterable[Span]) -> str:
    """Return ``type: mention`` lines in order of appearance, each once, for wording to show."""
    lines = (f"{span.type}: {one_line(text[span.start : span.end])}" for span in sorted(mentions))
    return "\n".join(dict.fromkeys(lines))


def marked_places(text: str) -> tuple[tuple[int, int], ...]:
    """Return where the marked mentions of a candidate pair stand, marks included."""
    return tuple(found.span() for found in _MARKED.finditer(text))


def _marked(text: str, head: Span, tail: Span) -> str:
    """Return the text with the head as ``<< head >>`` and the tail as ``[[ tail ]]``."""
    marks = sorted([(head, HEAD), (tail, TAIL)], reverse=True)
    for span, (before, after) in marks:
        inner = text[span.start : span.end]
        text = f"{text[: span.start]}{before} {inner} {after}{text[span.end :]}"
    return text
