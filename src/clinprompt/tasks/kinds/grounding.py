"""Find the mentions that a model wrote in the text that it read. Knows nothing of cards or lines.

A mention is a string in which each run of whitespace is one blank. The text is searched in the same
form, but the spans returned count characters of the original text.

Some information is lost when mentions are written as strings: which of several occurrences was
meant (the rules below choose one), discontinuous mentions, and whitespace at the ends of a mention.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from clinprompt.tasks.records import Relation, Span

Place = tuple[int, int]


class FlatText:
    """A text with whitespace runs flattened, the offsets back, and an index of occurrences."""

    def __init__(self, text: str) -> None:
        kept = [
            at for at, c in enumerate(text) if not (c.isspace() and at and text[at - 1].isspace())
        ]
        self._offsets = kept
        self._flat = "".join(" " if text[at].isspace() else text[at] for at in kept)
        self._folded = folded(self._flat)
        self._is_inside = [
            0 < at < len(kept) and self._flat[at - 1].isalnum() and self._flat[at].isalnum()
            for at in range(len(kept) + 1)
        ]
        self._known: dict[str, tuple[tuple[Place, ...], ...]] = {}

    def tiers(self, mention: str) -> tuple[tuple[Place, ...], ...]:
        """Return all occurrences of a mention, best kind first, each kind in order of the text.

        The kinds: exact between word boundaries, the same ignoring case, then both inside a word.
        """
        if mention not in self._known:
            exact = self._by_boundary(_occurrences(self._flat, mention))
            anyhow = self._by_boundary(_occurrences(self._folded, folded(mention)))
            self._known[mention] = (exact[0], anyhow[0], exact[1], anyhow[1])
        return self._known[mention]

    def _by_boundary(self, places: Iterator[Place]) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
        whole, inside = list[Place](), list[Place]()
        for start, end in places:
            fitting = inside if self._is_inside[start] or self._is_inside[end] else whole
            fitting.append((self._offsets[start], self._offsets[end - 1] + 1))
        return tuple(whole), tuple(inside)


class SpanGrounder:
    """Ground mentions one after another; holds the last span and the spans already returned.

    Whole words are searched first, then occurrences inside a word: each after the end of the last
    mention, then from its start (mentions may be nested), then from the beginning of the text, with
    the best kind of occurrence first. Mentions rarely nest, so the next place is the better guess.
    No (start, end, type) is returned twice; with ``apart``, no span that overlaps one before it.
    """

    def __init__(self, text: str, *, apart: bool = False) -> None:
        self._text, self._apart = _flat_text(text), apart
        self._last = Span(0, 0, "")
        self._given: set[Span] = set()
        self._open: dict[tuple[str, str], tuple[list[Place], ...]] = {}

    def ground(self, mention: str, kind: str) -> Span | None:
        """Return the next span of that mention and type, or None if the text has no more."""
        key = (mention, kind)
        if key not in self._open:
            self._open[key] = tuple(map(list, self._text.tiers(mention)))
        for places, start in self._searches(self._open[key]):
            span = self._take(places, start, kind)
            if span is not None:
                self._last = span
                return span
        return None

    def _searches(self, tiers: tuple[list[Place], ...]) -> Iterator[tuple[list[Place], int]]:
        for kinds in (tiers[:2], tiers[2:]):  # whole words, then inside words
            yield from product(kinds, (self._last.end, self._last.start))
            yield from product(kinds, (0,))

    def _take(self, places: list[Place], start: int, kind: str) -> Span | None:
        # A place leaves the list once it is looked at, so that repeated lines need no new scan.
        at = bisect_left(places, (start, 0))
        while at < len(places):
            span = Span(*places.pop(at), kind)
            if not self._is_taken(span):
                self._given.add(span)
                return span
        return None

    def _is_taken(self, span: Span) -> bool:
        if not self._apart:
            return span in self._given
        return any(span.start < one.end and one.start < span.end for one in self._given)


class RelationGrounder:
    """Ground links one after another; holds the links already returned.

    A line takes the occurrences of its head and tail that lie nearest to each other (ties: the
    earlier head, then the earlier tail). A repeated line takes the next nearest pair of which
    neither end was used, then one of which one end was used. No link is returned twice.
    """

    def __init__(self, text: str) -> None:
        self._text = _flat_text(text)
        self._given: set[Relation] = set()
        self._open: dict[tuple[str, str, str], Iterator[tuple[Place, Place]]] = {}

    def ground(self, head: str, tail: str, kind: str) -> Relation | None:
        """Return the next link between those mentions, or None if the text has no more."""
        key = (head, tail, kind)
        if key not in self._open:
            heads, tails = _best(self._text.tiers(head)), _best(self._text.tiers(tail))
            self._open[key] = _disjoint_first(_near_pairs(heads, tails))
        for first, second in self._open[key]:
            relation = Relation(kind, Span(*first, ""), Span(*second, ""))
            if relation not in self._given:
                self._given.add(relation)
                return relation
        return None


@lru_cache(maxsize=64)
def _flat_text(text: str) -> FlatText:
    return FlatText(text)


def folded(text: str) -> str:
    """Return a text in lower case, as long as before: no character becomes two."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _occurrences(text: str, mention: str) -> Iterator[Place]:
    at = text.find(mention) if mention else -1
    while at >= 0:
        yield at, at + len(mention)
        at = text.find(mention, at + 1)


def _best(tiers: tuple[tuple[Place, ...], ...]) -> tuple[Place, ...]:
    return next((places for places in tiers if places), ())


def _near_pairs(heads: tuple[Place, ...], tails: tuple[Place, ...]) -> list[tuple[Place, Place]]:
    """Pair each place of the rarer end with its neighbors of the other end, nearest pair first.

    A place is paired with itself only after every other pair: the same words may be both ends of a
    link (a trigger that states its own status), but two mentions of them are more likely.
    """
    few, many = (heads, tails) if len(heads) <= len(tails) else (tails, heads)
    pairs = []
    for place in few:
        at = bisect_left(many, place)
        near = many[max(0, at - 2) : at + 2]
        pairs += [(place, other) if few is heads else (other, place) for other in near]
    return sorted(pairs, key=lambda pair: (pair[0] == pair[1], _gap(*pair), pair))


def _gap(one: Place, other: Place) -> int:
    return max(0, max(one[0], other[0]) - min(one[1], other[1]))


def _disjoint_first(pairs: list[tuple[Place, Place]]) -> Iterator[tuple[Place, Place]]:
    heads: set[Place] = set()
    tails: set[Place] = set()
    shared = []
    for head, tail in pairs:
        if head in heads or tail in tails:
            shared.append((head, tail))
            continue
        heads.add(head)
        tails.add(tail)
        yield head, tail
    yield from shared
