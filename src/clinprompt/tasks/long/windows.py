"""Split records that are longer than a model reads into windows; merge the answers back.

Knows no tokenizer: ``length_of`` tells how many tokens a text has (without marks of begin and end),
and ``limit`` how many the text of one window may have. Windows begin and end between sentences, or
between words where a sentence is long, and share about ``overlap`` tokens with the next one.

What windows keep, where the tokens of a text are those of its sentences and words together:

- Every annotated mention lies whole in a window, as no window is cut inside one; a window is longer
  than ``limit`` only where mentions make it so, or where a single letter is.
- In windows made without an answer, every stretch of fewer than ``overlap`` tokens, and every
  sentence of at most (limit - overlap) / 3, lies whole in a window: what a model can find.
- A link whose two ends no window holds together is lost; ``num_lost_links`` counts them.

A stretch that several windows hold belongs to the one where it lies furthest from a cut, and only
that window's answer counts: what is found twice in an overlap is told once.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from clinprompt.errors import SettingError
from clinprompt.tasks.long.pieces import LengthOf, Piece, cut, fit
from clinprompt.tasks.records import (
    Answer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    Unparseable,
    one_line,
    spans_of,
)

_PIECES_A_WINDOW = 3  # more, and fewer sentences stay whole; fewer, and windows hardly move on


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a record as a record of its own; ``offset`` is where its text begins in the whole.

    ``is_first`` and ``is_last`` tell that nothing was cut before or after it.
    """

    record: Record
    offset: int
    is_first: bool
    is_last: bool

    @property
    def end(self) -> int:
        """Return where the window ends in the whole text."""
        return self.offset + len(self.record.text)


def split_record(
    record: Record, length_of: LengthOf, limit: int, overlap: int
) -> tuple[Window, ...]:
    """Return the windows of a record in order; a record that fits is one window, as it is.

    To train, give the record with its answer: each window bears what lies whole in it. To predict,
    give it without one, so that the cuts tell nothing of the answer. A field ``mentions``, one
    ``type: mention`` a line, keeps the lines whose mention the window holds: ``limit`` is what the
    whole list leaves to the text, and a window has the tokens of lines that it lacks for its text.

    Raises:
        SettingError: ``overlap`` is not at least 0 and below half of ``limit``.
    """
    if not 0 <= 2 * overlap < limit:
        raise SettingError(
            f"windows of {limit} tokens cannot overlap by {overlap}; the overlap must be at least "
            "0 and below half of the limit"
        )
    text = record.text
    if length_of(text) <= limit:
        return (Window(record, 0, is_first=True, is_last=True),)
    if listed := record.fields.get("mentions", ""):
        limit, length_of = limit + length_of(listed), _with_list(length_of, listed)
    pieces = cut(text, length_of, max(1, (limit - overlap) // _PIECES_A_WINDOW))
    glued = _glue(pieces, spans_of(record.answer))
    return tuple(
        _window(record, start, end)
        for start, end in _places(text, glued, length_of, limit, overlap)
    )


def merge_spans(windows: Sequence[Window], answers: Sequence[Answer]) -> SpansAnswer | Unparseable:
    """Return the answer for the whole text, from one answer a window.

    A window whose answer could not be read counts as one mention that was not found; where none
    could be read, nor can the whole.
    """
    if all(isinstance(answer, Unparseable) for answer in answers):
        return _unparseable(answers)
    owns = _Owners(windows)
    spans = [
        whole
        for number, (window, answer) in enumerate(zip(windows, answers, strict=True))
        if isinstance(answer, SpansAnswer)
        for whole in (_shifted(span, window.offset) for span in answer.spans)
        if owns.of(whole.start, whole.end) == number
    ]
    return SpansAnswer(tuple(sorted(spans)), _num_ungrounded(answers))


def merge_relations(
    windows: Sequence[Window], answers: Sequence[Answer]
) -> RelationsAnswer | Unparseable:
    """Return the answer for the whole text, as ``merge_spans`` does."""
    if all(isinstance(answer, Unparseable) for answer in answers):
        return _unparseable(answers)
    owns = _Owners(windows)
    links = [
        whole
        for number, (window, answer) in enumerate(zip(windows, answers, strict=True))
        if isinstance(answer, RelationsAnswer)
        for whole in (_shifted_link(link, window.offset) for link in answer.relations)
        if owns.of(*_extent(whole)) == number
    ]
    in_order = sorted(links, key=lambda link: (link.head, link.tail, link.type))
    return RelationsAnswer(tuple(in_order), _num_ungrounded(answers))


def num_lost_links(record: Record, windows: Sequence[Window]) -> int:
    """Return how many links of a record no window holds: their ends lie too far apart."""
    if not isinstance(record.answer, RelationsAnswer):
        return 0
    owns = _Owners(windows)
    return sum(owns.of(*_extent(link)) is None for link in record.answer.relations)


class _Owners:
    """Which window a stretch of the whole text belongs to."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows
        self._offsets = [window.offset for window in windows]
        self._ends = [window.end for window in windows]

    def of(self, start: int, end: int) -> int | None:
        """Return the number of the window that holds the stretch furthest from a cut, if any."""
        # Offsets and ends grow from window to window.
        holding = range(bisect_left(self._ends, end), bisect_right(self._offsets, start))
        return max(holding, key=lambda number: self._room(number, start, end), default=None)

    def _room(self, number: int, start: int, end: int) -> float:
        window = self._windows[number]
        before = float("inf") if window.is_first else start - window.offset
        return min(before, float("inf") if window.is_last else window.end - end)


def _glue(pieces: Sequence[Piece], spans: Iterable[Span]) -> list[Piece]:
    """Join pieces wherever the cut between them lies inside a span."""
    cuts = [piece.start for piece in pieces]
    changes = [0] * (len(cuts) + 1)
    for span in spans:
        changes[bisect_right(cuts, span.start)] += 1
        changes[bisect_left(cuts, span.end)] -= 1
    glued: list[Piece] = []
    for piece, num_spans in zip(pieces, accumulate(changes), strict=False):
        if num_spans:
            start, _, length = glued.pop()
            glued.append(Piece(start, piece.end, length + piece.length))
        else:
            glued.append(piece)
    return glued


def _places(
    text: str, pieces: Sequence[Piece], length_of: LengthOf, limit: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Yield where the windows begin and end, each as long as may be."""
    first = reached = 0
    while reached < len(pieces):
        last = fit(text, pieces, first, length_of, limit)
        if last > reached:
            yield pieces[first].start, pieces[last - 1].end
        reached = max(reached, last)
        first = _next_first(pieces, first, last, limit, overlap)


def _next_first(pieces: Sequence[Piece], first: int, last: int, limit: int, overlap: int) -> int:
    """Step back from the end of a window by the overlap, so far that the next piece still fits."""
    back, kept = last, pieces[last].length if last < len(pieces) else 0
    wanted = kept + overlap
    while back - 1 > first and kept < wanted and kept + pieces[back - 1].length <= limit:
        back -= 1
        kept += pieces[back].length
    return back


def _window(record: Record, start: int, end: int) -> Window:
    text = record.text[start:end]
    fields = {**record.fields, "text": text}
    if "mentions" in fields:
        fields["mentions"] = _mentions_in(fields["mentions"], text)
    part = Record(
        id=f"{record.id}@{start}",
        fields=fields,
        answer=_part_of(record.answer, start, end),
        options=record.options,
        group=record.group or record.id,
    )
    return Window(part, start, is_first=start == 0, is_last=end == len(record.text))


def _with_list(length_of: LengthOf, listed: str) -> LengthOf:
    """Return what tells how many tokens a text has together with the lines listed for it."""
    return lambda text: length_of(text) + length_of(_mentions_in(listed, text))


def _mentions_in(listed: str, text: str) -> str:
    flat = one_line(text)
    kept = (line for line in listed.split("\n") if line.partition(": ")[2] in flat)
    return "\n".join(kept)


def _part_of(answer: Answer | None, start: int, end: int) -> Answer | None:
    """Return what of an answer lies whole between two offsets, counted from the first."""
    match answer:
        case SpansAnswer(spans):
            inside = (span for span in spans if start <= span.start and span.end <= end)
            return SpansAnswer(tuple(_shifted(span, -start) for span in inside))
        case RelationsAnswer(relations):
            whole = (
                link for link in relations if start <= _extent(link)[0] and _extent(link)[1] <= end
            )
            return RelationsAnswer(tuple(_shifted_link(link, -start) for link in whole))
    return answer


def _shifted(span: Span, offset: int) -> Span:
    return replace(span, start=span.start + offset, end=span.end + offset)


def _shifted_link(link: Relation, offset: int) -> Relation:
    return replace(link, head=_shifted(link.head, offset), tail=_shifted(link.tail, offset))


def _extent(link: Relation) -> tuple[int, int]:
    return min(link.head.start, link.tail.start), max(link.head.end, link.tail.end)


def _unparseable(answers: Sequence[Answer]) -> Unparseable:
    return Unparseable("\n".join(a.text for a in answers if isinstance(a, Unparseable)))


def _num_ungrounded(answers: Sequence[Answer]) -> int:
    return sum(
        answer.ungrounded if isinstance(answer, SpansAnswer | RelationsAnswer) else 1
        for answer in answers
    )
