"""Recognize entities: write, read, join and score mentions. Knows nothing of links between them.

::

    aspirin                    a card with one type: the mention
    drug: aspirin              a card with several types: the type's word and the mention
    none                       no mentions

Mentions are in order of appearance; of two that begin together, the longer comes first. A list mark
at the beginning of a line is accepted and dropped if it is not part of the mention. What
``grounding`` cannot find again is lost, and so is a single mention whose text is "none".
"""

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.allowed import Line, NoteWords, Piece, each_of
from clinprompt.tasks.kinds.grounding import SpanGrounder
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
    grounder = SpanGrounder(record.text)
    return tuple(_grounded(grounder, _typed_mention(card, one_line(line))) for line in lines)


def _grounded(grounder: SpanGrounder, found: tuple[str, str] | None) -> Span | None:
    if found is None:
        return None
    kind, mention = found
    return grounder.ground(mention, kind) or grounder.ground(without_bullet(mention), kind)


class SpanLines:
    """What an answer with mentions may be: mentions in order of appearance, each once.

    A line means the next place of its mention. After it, mentions begin later in the note, or at
    the same place and are shorter or of a type that comes later. If the task's mentions do not
    overlap, they begin after its end.
    """

    nothing = NONE

    def __init__(self, card: Card, record: Record) -> None:
        self._card = card
        self._words = NoteWords(record.text, symbols=bool(card.symbols))
        self._may_overlap = card.overlap is not False

    def next_line(self, finished: Sequence[str]) -> Line:
        """Return what the next line may be; nothing if the note has no mention left."""
        last = self._last_of(finished)
        if last is None:
            return Line(self._typed(self._card.labels, self._words.onward(0)))
        start, mention, kind = last
        if not self._may_overlap:
            return Line(self._typed(self._card.labels, self._words.onward(start + len(mention))))
        later = [label for label in self._card.labels if label > kind]
        return Line(
            (
                *self._typed(later, (mention,)),
                *self._typed(self._card.labels, self._words.shorter(mention, start)),
                *self._typed(self._card.labels, self._words.onward(self._words.after_first(start))),
            )
        )

    def _last_of(self, finished: Sequence[str]) -> tuple[int, str, str] | None:
        """Return start, text and type of the mention that the last line means."""
        last: Span | None = None
        for kind, mention in filter(None, (_typed_mention(self._card, line) for line in finished)):
            first = (last.start if self._may_overlap else last.end) if last else 0
            spans = (
                Span(start, start + len(mention), kind)
                for start in self._words.places(mention, first)
            )
            last = next(
                (one for one in spans if last is None or _appearance(one) > _appearance(last)), last
            )
        return (last.start, self._words.flat[last.start : last.end], last.type) if last else None

    def _typed(
        self, labels: Iterable[str], mentions: Iterable[Piece]
    ) -> tuple[tuple[Piece, ...], ...]:
        """Return each mention after each type's word, which a card with one type does not have."""
        has_types = len(self._card.labels) > 1
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
    metrics=(MENTIONS.f1("entity_f1", ENTITY_SCORER),),
    extra_scores=lambda card, answers, gold: {
        "partial_f1": partial_entity_f1(answers, gold, tuple(card.labels))
    },
    chance=chance_of_nothing,
    constant=MENTIONS.constant,
    listing=MENTIONS,
    is_often_sentences=True,
)
