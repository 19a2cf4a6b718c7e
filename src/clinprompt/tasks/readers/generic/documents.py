"""Turn an annotated document into records: mentions, links, or candidate pairs. Knows no files.

Readers of annotated text (brat, PubTator, event sets ...) produce documents; the card's view says
which task to make of them. The answer of *entities* is all mentions; that of *relations* all links,
end to end or with the mentions listed (``given``); that of *pairs* the label of one marked pair.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, Self

from pydantic import Field, model_validator

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
    """A typed link between two entities, given by their keys."""

    type: str
    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class Document:
    """Annotated text. ``entities`` maps the key of each entity to its mentions, at least one.

    If mentions are annotated, an entity has one; if concepts are annotated, it has all mentions of
    the concept. Documents with the same ``group`` stay in one split.
    """

    id: str
    text: str
    entities: Mapping[str, tuple[Span, ...]]
    links: tuple[Link, ...] = ()
    group: str = ""


class View(Settings):
    """Which task to make of a document with mentions and links.

    Candidates for a link whose mentions all overlap are left out, because the marks cannot show
    them.
    """

    answer: Literal["entities", "relations", "pairs"] = Field(
        description="mentions (answer `spans` of the card), links (`relations`), or for each "
        "candidate pair its link (`label`)"
    )
    types: tuple[str, ...] = Field(
        default=(), description="types of the mentions that are read; empty: all"
    )
    link_types: tuple[str, ...] = Field(
        default=(),
        description="types of the links that are read, whatever their ends are; if two ends have "
        "several links, the type that stands first here counts",
    )
    given: bool = Field(
        default=False,
        description="whether the field `mentions` lists the mentions, one line `type: mention` "
        "for each, in order of appearance",
    )
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(), description="the types of head and tail of the candidates"
    )
    negative: str = Field(default="none", description="label of a candidate without a link")
    directed: bool = Field(
        default=True,
        description="false: the end that appears first is the head of a candidate (so it is, too, "
        "if both ends have the same type)",
    )
    self_links: bool = Field(
        default=True, description="false: links whose two ends are the same words are left out"
    )

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if (self.answer == "pairs") != bool(self.pairs):
            raise ValueError("pairs goes with answer = 'pairs', which needs it")
        if self.types and (
            self.answer == "pairs" or (self.answer, self.given) == ("relations", False)
        ):
            raise ValueError(
                "types has no effect with answer = 'pairs', or with 'relations' without given"
            )
        if self.answer == "entities" and (self.link_types or self.given or not self.directed):
            raise ValueError(
                "link_types, given and directed have no effect with answer = 'entities'"
            )
        if not self.self_links and self.answer != "relations":
            raise ValueError("self_links has no effect without answer = 'relations'")
        return self

    def records(self, document: Document) -> Iterator[Record]:
        """Yield the records of a document: one, or one per candidate pair.

        Raises:
            DataError: a link names an entity that the document does not have.
        """
        for link in document.links:
            for key in (link.head, link.tail):
                if key not in document.entities:
                    raise DataError(
                        f"document {document.id}: a link names {key!r}, which is not annotated"
                    )
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
                for (head, head_key), (tail, tail_key) in self._candidates(first, second):
                    yield Record(
                        f"{document.id}:{head_key}-{tail_key}",
                        {"text": _marked(document.text, head, tail)},
                        LabelAnswer(self._label(labels, head, tail, (head_key, tail_key))),
                        group=document.group or document.id,
                    )

    def _labels(self, document: Document) -> dict[tuple[str, str], str]:
        """Return the type of each linked pair; of several, the one first in ``link_types``."""
        links = list(self._links(document))
        if self.link_types:
            links.sort(key=lambda link: self.link_types.index(link.type))
        return {(link.head, link.tail): link.type for link in reversed(links)}

    def _label(
        self, labels: Mapping[tuple[str, str], str], head: Span, tail: Span, keys: tuple[str, str]
    ) -> str:
        forward, backward = labels.get(keys), labels.get(keys[::-1])
        is_symmetric = not self.directed or head.type == tail.type
        return forward or (backward if is_symmetric else None) or self.negative

    def _candidates(self, first: _End, second: _End) -> tuple[tuple[_End, _End], ...]:
        """Return the candidate pairs (head, tail) of two ends that are in order of appearance.

        They never depend on the links, because that would reveal the label.
        """
        ways = ((first, second), (second, first))
        types = [(head.type, tail.type) for (head, _), (tail, _) in ways]
        if not self.directed:
            return ways[:1] if set(types) & set(self.pairs) else ()
        fitting = tuple(way for way, both in zip(ways, types, strict=True) if both in self.pairs)
        return fitting[:1] if types[0] == types[1] else fitting


def _nearest(heads: tuple[Span, ...], tails: tuple[Span, ...]) -> tuple[Span, Span]:
    """Return the two mentions of two entities that are closest, the earlier ones on a tie."""
    return min(product(heads, tails), key=lambda pair: (_gap(*pair), pair))


def _nearest_apart(heads: tuple[Span, ...], tails: tuple[Span, ...]) -> tuple[Span, Span]:
    """Return the closest mentions that do not overlap, or the closest if all overlap."""
    return min(product(heads, tails), key=lambda pair: (_overlap(*pair), _gap(*pair), pair))


def _gap(one: Span, other: Span) -> int:
    return max(one.start - other.end, other.start - one.end, 0)


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def listed(text: str, mentions: Iterable[Span]) -> str:
    """Return ``type: mention`` lines in order of appearance, each once, for the wording."""
    lines = (f"{span.type}: {one_line(text[span.start : span.end])}" for span in sorted(mentions))
    return "\n".join(dict.fromkeys(lines))


def marked_places(text: str) -> tuple[tuple[int, int], ...]:
    """Return start and end of the marked mentions of a candidate pair, marks included."""
    return tuple(found.span() for found in _MARKED.finditer(text))


def _marked(text: str, head: Span, tail: Span) -> str:
    """Return the text with the head as ``<< head >>`` and the tail as ``[[ tail ]]``."""
    marks = sorted([(head, HEAD), (tail, TAIL)], reverse=True)
    for span, (before, after) in marks:
        inner = text[span.start : span.end]
        text = f"{text[: span.start]}{before} {inner} {after}{text[span.end :]}"
    return text
