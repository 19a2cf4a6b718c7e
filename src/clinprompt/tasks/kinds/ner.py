"""Recognize entities: write, read, join and score mentions. Knows nothing of links between them.

::

    aspirin                    a card with one type: the mention
    drug: aspirin              a card with several types: the type's word and the mention
    none                       no mentions

Examples list mentions in order of appearance, of two that begin together the longer first. Answers
may list them in any order. A list mark at the beginning of a line is accepted and dropped if it is
not part of the mention. What ``grounding`` cannot find again is lost, and so is a single mention
whose text is "none".
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.allowed import Line, Passage, Piece, each_of, words_of
from clinprompt.tasks.kinds.grounding import SpanGrounder, folded
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.labels import word_of
from clinprompt.tasks.kinds.listing import Listing, chance_of_nothing
from clinprompt.tasks.kinds.scores import check_rows, f1, of_class
from clinprompt.tasks.records import Answer, Record, Span, SpansAnswer, Unparseable, one_line

NONE = "none"
ENTITY_SCORER = "entity F1, strict, micro, multiset of (start, end, type)"
_BULLET = re.compile(r"^(?:[-*•]|\d+[.)])\s+")


def render_spans(card: Card, record: Record, answer: Answer) -> str:
    """Return one line for each mention."""
    assert isinstance(answer, SpansAnswer)
    lines = []
    for span in sorted(answer.spans, key=_appearance):
        word = word_of(card, span.type)
        mention = one_line(record.text[span.start : span.end])
        lines.append(f"{word}: {mention}" if len(card.labels) > 1 else mention)
    return "\n".join(lines) or NONE


def parse_spans(card: Card, record: Record, text: str) -> Answer:
    """Read mentions and find them in the record's text; keep the lines that are not found."""
    if says_none(text):
        return SpansAnswer(())
    lines = list(map(one_line, text.split("\n")))
    if not any(_typed_mention(card, line) for line in lines):
        return Unparseable(text)
    grounded = tuple(zip(lines, mentions_by_line(card, record, text), strict=True))
    spans = sorted((span for _, span in grounded if span is not None), key=_appearance)
    lost = (line for line, span in grounded if line and span is None)
    return SpansAnswer(tuple(spans), tuple(lost))


def mentions_by_line(card: Card, record: Record, text: str) -> tuple[Span | None, ...]:
    """Return the mention that each line of an answer names; None for lines that name none."""
    lines = text.split("\n")
    if says_none(text):
        return (None,) * len(lines)
    grounder = SpanGrounder(record.text, apart=card.overlap is False)
    return tuple(_grounded(grounder, _typed_mention(card, one_line(line))) for line in lines)


def _grounded(grounder: SpanGrounder, found: tuple[str, str] | None) -> Span | None:
    if found is None:
        return None
    kind, mention = found
    return grounder.ground(mention, kind) or grounder.ground(without_bullet(mention), kind)


class SpanLines:
    """What an answer with mentions may be: mentions of the note, none more often than it occurs.

    If the task's mentions do not overlap, a line is of words that no line before it means. It may
    then be in lower case, as models often write the first word of a sentence.
    """

    nothing = NONE

    def __init__(self, card: Card, record: Record) -> None:
        self._card = card
        self._flat = one_line(record.text)
        self._known: dict[str, tuple[Passage, ...]] = {}

    def next_line(self, finished: Sequence[str]) -> Line:
        """Return what the next line may be; nothing if the note has no mention left."""
        if self._card.overlap is not False:
            spent = frozenset(line for line in finished if self._is_spent(line, finished))
            return Line(self._typed(self._words_of(self._flat)), spent)
        pieces = chain.from_iterable(
            (*self._words_of(text), *self._words_of(folded(text)))
            for text in dict.fromkeys(self._left(finished))
        )
        return Line(self._typed(dict.fromkeys(pieces)))

    def _left(self, finished: Sequence[str]) -> Iterator[str]:
        """Yield the parts of the note that no finished line means."""
        grounder, at = SpanGrounder(self._flat, apart=True), 0
        found = (_grounded(grounder, _typed_mention(self._card, line)) for line in finished)
        for span in sorted(filter(None, found)):
            yield self._flat[at : span.start]
            at = span.end
        yield self._flat[at:]

    def _is_spent(self, line: str, finished: Sequence[str]) -> bool:
        """Return whether the note has no further mention like that of a line."""
        grounder = SpanGrounder(self._flat)
        return not [
            _grounded(grounder, _typed_mention(self._card, one)) for one in (*finished, line)
        ][-1]

    def _words_of(self, text: str) -> tuple[Passage, ...]:
        if text not in self._known:
            self._known[text] = words_of(text, symbols=bool(self._card.symbols))
        return self._known[text]

    def _typed(self, mentions: Iterable[Piece]) -> tuple[tuple[Piece, ...], ...]:
        """Return each mention after each type's word, which a card with one type does not have."""
        has_types = len(self._card.labels) > 1
        labels = self._card.labels
        words = [f"{word_of(self._card, label)}: " if has_types else "" for label in labels]
        return tuple(option for mention in mentions for option in each_of(words, mention))


def says_none(text: str) -> bool:
    """Return whether the whole output is the word for an empty answer."""
    return text.strip().rstrip(".").casefold() == NONE


def without_bullet(line: str) -> str:
    """Return a line without the list mark or number that chat models often put first."""
    return _BULLET.sub("", line)


def split_type(card: Card, line: str) -> tuple[str, str] | None:
    """Split ``type word: rest`` into the type (longest word first) and the rest.

    Returns None if the line begins with no type's word.
    """
    said = line.casefold()
    starts = {label: f"{word_of(card, label).casefold()}:" for label in card.labels}
    for label, start in sorted(starts.items(), key=lambda pair: -len(pair[1])):
        # Folding may change lengths, so the rest begins after the colon and not at an offset.
        if said.startswith(start):
            rest = line.split(":", maxsplit=start.count(":"))[-1]
            return label, one_line(rest)
    return None


def _typed_mention(card: Card, line: str) -> tuple[str, str] | None:
    if not line:
        return None
    if len(card.labels) == 1:
        return next(iter(card.labels)), line
    found = split_type(card, line) or split_type(card, without_bullet(line))
    return found if found and found[1] else None


def _appearance(span: Span) -> tuple[int, int, str]:
    return span.start, -span.end, span.type


def span_to_json(record: Record, span: Span) -> dict[str, Any]:
    """Return a mention as JSON: its offsets in characters, its type and its text."""
    text = record.text[span.start : span.end]
    return {"start": span.start, "end": span.end, "type": span.type, "text": text}


def _to_json(record: Record, answer: Answer) -> dict[str, Any]:
    assert isinstance(answer, SpansAnswer)
    entities = [span_to_json(record, span) for span in answer.spans]
    return {MENTIONS.name: entities, "ungrounded": list(answer.ungrounded_lines)}


def partial_entity_f1(
    answers: Sequence[Answer], gold: Sequence[Answer], types: Sequence[str]
) -> float:
    """Return nervaluate's partial F1: an overlap earns half, types are not compared.

    nervaluate drops mentions of types that it was not given; here a predicted type outside
    ``types`` is spurious, and so is every line that is no mention of the text.

    Raises:
        DataError: the lists differ in length or are empty, an answer is of another kind, or gold
            has an unknown type.
    """
    from nervaluate.evaluator import Evaluator  # noqa: PLC0415 - slow to import

    check_rows(answers, gold)
    predicted, true = _spans(answers), _spans(gold)
    unknown = {span.type for row in true for span in row} - set(types)
    if unknown:
        raise DataError(f"gold has types {sorted(unknown)} that are none of {sorted(types)}")
    num_outside = sum(span.type not in types for row in predicted for span in row)
    num_invented = sum(map(MENTIONS.num_invented, answers))
    inside = [[span for span in row if span.type in types] for row in predicted]
    evaluator = Evaluator(_dicts(true), _dicts(inside), tags=list(types), loader="dict")
    counts = evaluator.evaluate()["overall"]["partial"]
    earned = counts.correct + 0.5 * counts.partial
    num_predicted = counts.actual + num_outside + num_invented
    return float(f1(np.array([earned, num_predicted, counts.possible])))


def _spans(answers: Sequence[Answer]) -> list[tuple[Span, ...]]:
    return [answer.spans if answer else () for answer in of_class(answers, SpansAnswer)]


def _dicts(rows: Sequence[Sequence[Span]]) -> list[list[dict[str, object]]]:
    """Return spans as nervaluate reads them: inclusive ends, in text order."""
    return [
        [{"label": span.type, "start": span.start, "end": span.end - 1} for span in sorted(row)]
        for row in rows
    ]


def _place_and_type(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.type


def shifted(span: Span, offset: int) -> Span:
    """Return a mention with its offsets moved."""
    return Span(span.start + offset, span.end + offset, span.type)


MENTIONS: Listing[Span] = Listing(
    answer=SpansAnswer,
    name="entities",
    items_in=attrgetter("spans"),
    identity=_place_and_type,
    order=_place_and_type,
    extent=attrgetter("start", "end"),
    shifted=shifted,
)
NER = Kind(
    answer=SpansAnswer,
    empty=SpansAnswer(()),
    render=render_spans,
    parse=parse_spans,
    items_by_line=mentions_by_line,
    allowed=SpanLines,
    to_json=_to_json,
    labels_in=MENTIONS.types,
    metrics=(
        MENTIONS.f1(
            "entity_f1",
            ENTITY_SCORER,
            "the F1 over all mentions; one is right if its start, end and type are",
        ),
    ),
    extra_scores=lambda card, answers, gold: {
        "partial_f1": partial_entity_f1(answers, gold, tuple(card.labels))
    },
    chance=chance_of_nothing,
    constant=MENTIONS.constant,
    listing=MENTIONS,
    is_often_sentences=True,
)
