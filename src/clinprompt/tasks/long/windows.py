"""Split records that are longer than the maximum input into windows; merge the answers.

Knows no tokenizer: ``length_of`` returns the number of tokens of a text (without begin and end
tokens), and ``limit`` is the maximum for the text of one window. Windows start and end between
sentences, or between words if a sentence is too long, and consecutive windows share about
``overlap`` tokens.

Windows keep these promises if a text has as many tokens as its sentences and words together:

- Every annotated mention is whole in some window, because no window is cut inside one. A window is
  longer than ``limit`` only because of mentions, or because of a single letter.
- In windows made without an answer, every part of fewer than ``overlap`` tokens, and every sentence
  of at most (limit - overlap) / 3 tokens, is whole in some window.
- A link is lost if no window contains both ends; ``num_lost_links`` counts these.

If several windows contain a mention or link, only the window in which it is furthest from a cut
counts, so it is never counted twice.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from clinprompt.errors import SettingError
from clinprompt.tasks.long.chunks import Chunk, LengthOf, cut, fit
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

_CHUNKS_PER_WINDOW = (
    3  # with more, fewer sentences stay whole; with fewer, windows overlap too much
)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a record as a separate record; its text starts at ``offset`` of the whole text.

    ``is_first`` and ``is_last`` say that nothing was cut before or after it.
    """

    record: Record
    offset: int
    is_first: bool
    is_last: bool

    @property
    def end(self) -> int:
        """Return the end of the window in the whole text."""
        return self.offset + len(self.record.text)


def split_record(
    record: Record, length_of: LengthOf, limit: int, overlap: int
) -> tuple[Window, ...]:
    """Return the windows of a record in order; a record that fits is returned as one window.

    For training, give the record with its answer; each window gets the part of the answer that is
    whole in it. For prediction, give it without, so that the cuts do not depend on the answer. The
    field ``mentions`` (one ``type: mention`` per line) keeps the lines whose mention is in the
    window: ``limit`` is what the whole list leaves for the text, and a window may use the tokens of
    the lines that it does not have for its text.

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
    chunks = cut(text, length_of, max(1, (limit - overlap) // _CHUNKS_PER_WINDOW))
    glued = _glue(chunks, spans_of(record.answer))
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
    """Return how many links of a record are in no window, because their ends are too far apart."""
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


def _glue(chunks: Sequence[Chunk], spans: Iterable[Span]) -> list[Chunk]:
    """Join chunks wherever the cut between them is inside a span."""
    cuts = [chunk.start for chunk in chunks]
    changes = [0] * (len(cuts) + 1)
    for span in spans:
        changes[bisect_right(cuts, span.start)] += 1
        changes[bisect_left(cuts, span.end)] -= 1
    glued: list[Chunk] = []
    for chunk, num_spans in zip(chunks, accumulate(changes), strict=False):
        if num_spans:
            start, _, length = glued.pop()
            glued.append(Chunk(start, chunk.end, length + chunk.length))
        else:
            glued.append(chunk)
    return glued


def _places(
    text: str, chunks: Sequence[Chunk], length_of: LengthOf, limit: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Yield start and end of the windows, each as long as possible."""
    first = reached = 0
    while reached < len(chunks):
        last = fit(text, chunks, first, length_of, limit)
        if last > reached:
            yield chunks[first].start, chunks[last - 1].end
        reached = max(reached, last)
        first = _next_first(chunks, first, last, limit, overlap)


def _next_first(chunks: Sequence[Chunk], first: int, last: int, limit: int, overlap: int) -> int:
    """Return the first chunk of the next window, which overlaps the last one and fits one more."""
    back, kept = last, chunks[last].length if last < len(chunks) else 0
    wanted = kept + overlap
    while back - 1 > first and kept < wanted and kept + chunks[back - 1].length <= limit:
        back -= 1
        kept += chunks[back].length
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
    """Return a function for the number of tokens of a text and of the lines listed for it."""
    return lambda text: length_of(text) + length_of(_mentions_in(listed, text))


def _mentions_in(listed: str, text: str) -> str:
    flat = one_line(text)
    kept = (line for line in listed.split("\n") if line.partition(": ")[2] in flat)
    return "\n".join(kept)


def _part_of(answer: Answer | None, start: int, end: int) -> Answer | None:
    """Return the part of an answer that is whole between two offsets, relative to the first."""
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
