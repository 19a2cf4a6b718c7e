r"""Extract relations: typed links between mentions, or the label of one marked pair of mentions.

Links are written one per line::

    dose: aspirin | 81 mg      the type's word, the head, the tail
    none                       no links

Examples list links in order of head, then tail; answers may list them in any order. In a mention,
``|`` and ``\`` are written ``\|`` and ``\\``. The types of head and tail are not written; after
reading, they are those that the card gives for the type of the link (``ends``), or "". If a string
occurs several times, the nearest occurrences are linked, whichever were linked before.

A marked pair is answered with a label, as in ``labels``. If its text is too long, the sentences of
both mentions stay.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from clinprompt.tasks.kinds.allowed import Line, each_of, words_of
from clinprompt.tasks.kinds.grounding import RelationGrounder
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.labels import CLOSED_LABELS, word_of
from clinprompt.tasks.kinds.link_ends import Ends, with_ends
from clinprompt.tasks.kinds.listing import Listing, chance_of_nothing
from clinprompt.tasks.kinds.ner import NONE, says_none, shifted, span_to_json, split_type
from clinprompt.tasks.long.chunks import LengthOf
from clinprompt.tasks.long.passages import excerpt
from clinprompt.tasks.readers.generic.documents import marked_places
from clinprompt.tasks.records import (
    Answer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    Unparseable,
    one_line,
)

RELATION_SCORER = "relation F1, strict, micro, multiset of (type, head start-end, tail start-end)"
_ESCAPED = re.compile(r"[\\|]")
_HEAD_AND_TAIL = re.compile(r"((?:\\.|[^\\|])++)\|(.+)")


def render_relations(card: Card, record: Record, answer: Answer) -> str:
    """Return one line for each link."""
    assert isinstance(answer, RelationsAnswer)
    lines = [
        f"{word_of(card, link.type)}: {_mention(record, link.head)} | {_mention(record, link.tail)}"
        for link in sorted(answer.relations, key=_appearance)
    ]
    return "\n".join(lines) or NONE


def parse_relations(card: Card, record: Record, text: str) -> Answer:
    """Read links and find both ends in the record's text; keep the lines that are not found."""
    if says_none(text):
        return RelationsAnswer(())
    lines = list(map(one_line, text.split("\n")))
    if not any(_typed_pair(card, line) for line in lines):
        return Unparseable(text)
    grounded = tuple(zip(lines, links_by_line(card, record, text), strict=True))
    links = sorted((link for _, link in grounded if link is not None), key=_appearance)
    lost = (line for line, link in grounded if line and link is None)
    return RelationsAnswer(tuple(links), tuple(lost))


def links_by_line(card: Card, record: Record, text: str) -> tuple[Relation | None, ...]:
    """Return the link that each line of an answer names; None for lines that name none."""
    lines = text.split("\n")
    if says_none(text):
        return (None,) * len(lines)
    grounder = RelationGrounder(record.text)
    return tuple(
        _grounded(grounder, _typed_pair(card, one_line(line)), card.ends or {}) for line in lines
    )


def _grounded(
    grounder: RelationGrounder, found: tuple[str, str, str] | None, ends: Ends
) -> Relation | None:
    if found is None:
        return None
    kind, head, tail = found
    link = grounder.ground(head, tail, kind)
    return with_ends(link, ends) if link else None


class LinkLines:
    """What an answer with links may be: none more often than the note has places for it."""

    nothing = NONE

    def __init__(self, card: Card, record: Record) -> None:
        self._card, self._text = card, record.text
        words = words_of(record.text, symbols=bool(card.symbols), escape=_ESCAPED)
        types = [f"{word_of(card, label)}: " for label in card.labels]
        self._options = tuple(
            option for words in words for option in each_of(types, words, " | ", words)
        )

    def next_line(self, finished: Sequence[str]) -> Line:
        """Return what the next line may be; nothing if the note has no words."""
        spent = (line for line, count in Counter(finished).items() if self._is_spent(line, count))
        return Line(self._options, frozenset(spent))

    def _is_spent(self, line: str, count: int) -> bool:
        """Return whether the note has no further link like one that was listed so often."""
        pair, grounder = _typed_pair(self._card, line), RelationGrounder(self._text)
        if pair is None:
            return True
        kind, head, tail = pair
        return not all(grounder.ground(head, tail, kind) for _ in range(count + 1))


def _typed_pair(card: Card, line: str) -> tuple[str, str, str] | None:
    found = split_type(card, line)
    pair = _HEAD_AND_TAIL.fullmatch(found[1]) if found else None
    if found is None or pair is None:
        return None
    head, tail = (one_line(re.sub(r"\\(.)", r"\1", part)) for part in pair.groups())
    return (found[0], head, tail) if head and tail else None


def _mention(record: Record, span: Span) -> str:
    return _ESCAPED.sub(r"\\\g<0>", one_line(record.text[span.start : span.end]))


def _appearance(link: Relation) -> tuple[int, int, str]:
    return link.head.start, link.tail.start, link.type


def _to_json(record: Record, answer: Answer) -> dict[str, Any]:
    assert isinstance(answer, RelationsAnswer)
    relations = [
        {
            "type": link.type,
            "head": span_to_json(record, link.head),
            "tail": span_to_json(record, link.tail),
        }
        for link in answer.relations
    ]
    return {LINKS.name: relations, "ungrounded": list(answer.ungrounded_lines)}


def _type_and_places(link: Relation) -> Hashable:
    """Return a link without the types of its ends, which its text form does not carry."""
    return link.type, link.head.start, link.head.end, link.tail.start, link.tail.end


def _extent(link: Relation) -> tuple[int, int]:
    return min(link.head.start, link.tail.start), max(link.head.end, link.tail.end)


def _shifted(link: Relation, offset: int) -> Relation:
    return replace(link, head=shifted(link.head, offset), tail=shifted(link.tail, offset))


def _around_the_pair(
    record: Record, cut: tuple[str, ...], length_of: LengthOf, limit: int
) -> Mapping[str, str] | None:
    """Return the sentences of both marked mentions, and their neighbors as far as they fit."""
    places = marked_places(record.text) if cut == ("text",) else ()
    return {"text": excerpt(record.text, places, length_of, limit)} if places else None


LINKS: Listing[Relation] = Listing(
    answer=RelationsAnswer,
    name="relations",
    items_in=attrgetter("relations"),
    identity=_type_and_places,
    order=attrgetter("head", "tail", "type"),
    extent=_extent,
    shifted=_shifted,
    may_be_lost=True,
)
RELATIONS = Kind(
    answer=RelationsAnswer,
    empty=RelationsAnswer(()),
    render=render_relations,
    parse=parse_relations,
    items_by_line=links_by_line,
    allowed=LinkLines,
    to_json=_to_json,
    labels_in=LINKS.types,
    metrics=(
        LINKS.f1(
            "relation_f1",
            RELATION_SCORER,
            "the F1 over all links; one is right if its type and the places of both ends are",
        ),
    ),
    chance=chance_of_nothing,
    constant=LINKS.constant,
    listing=LINKS,
    has_setting=True,
)
MARKED_PAIR = replace(CLOSED_LABELS, shorten=_around_the_pair, has_setting=True)
