"""Split records that are longer than the maximum input into windows.

Knows no tokenizer and no kind of answer. ``length_of`` returns the number of tokens of a text
(without begin and end tokens), and ``limit`` is the maximum for the text of one window. Windows
start and end between sentences, or between words if a sentence is too long, and consecutive windows
share about ``overlap`` tokens.

Windows keep these promises if a text has as many tokens as its sentences and words together:

- Every annotated mention is whole in some window, because no window is cut inside one. A window is
  longer than ``limit`` only because of mentions, or because of a single letter.
- In windows made without an answer, every part of fewer than ``overlap`` tokens, and every sentence
  of at most (limit - overlap) / 3 tokens, is whole in some window.
- A link is lost if no window contains both ends; ``Listing.num_lost`` counts these.

If several windows contain a mention or link, only the window in which it is furthest from a cut
counts, so it is never counted twice.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from clinprompt.errors import SettingError
from clinprompt.tasks.long.chunks import Chunk, LengthOf, cut, fit
from clinprompt.tasks.records import Answer, Record, Span, one_line, spans_of

AnswerWithin = Callable[[Answer | None, int, int], Answer | None]
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
    record: Record,
    length_of: LengthOf,
    limit: int,
    overlap: int,
    *,
    answer_within: AnswerWithin,
) -> tuple[Window, ...]:
    """Return the windows of a record in order; a record that fits is returned as one window.

    For training, give the record with its answer; each window gets the part of the answer that
    ``answer_within`` its start and end returns. For prediction, give it without, so that the cuts
    do not depend on the answer. The field ``mentions`` (one ``type: mention`` per line) keeps the
    lines whose mention is in the window: ``limit`` is what the whole list leaves for the text, and
    a window may use the tokens of the lines that it does not have for its text.

    Raises:
        SettingError: ``overlap`` is not at least 0 and below half of ``limit``.
    """
    listed = record.fields.get("mentions", "")
    if not 0 <= 2 * overlap < limit + length_of(listed):
        raise SettingError(
            f"windows of {limit} tokens cannot overlap by {overlap}; the overlap must be at least "
            "0 and below half of the limit"
        )
    text = record.text
    if length_of(text) <= limit:
        return (Window(record, 0, is_first=True, is_last=True),)
    if listed:
        limit, length_of = limit + length_of(listed), _with_list(length_of, listed)
    chunks = cut(text, length_of, max(1, (limit - overlap) // _CHUNKS_PER_WINDOW))
    glued = _glue(chunks, spans_of(record.answer))
    return tuple(
        _window(record, start, end, answer_within)
        for start, end in _places(text, glued, length_of, limit, overlap)
    )


class Owners:
    """Find the window that a stretch of the whole text belongs to."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows

    def of(self, start: int, end: int) -> int | None:
        """Return the number of the window that holds the stretch furthest from a cut, if any."""
        holding = [
            number
            for number, window in enumerate(self._windows)
            if window.offset <= start and end <= window.end
        ]
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


def _window(record: Record, start: int, end: int, answer_within: AnswerWithin) -> Window:
    text = record.text[start:end]
    fields = {**record.fields, "text": text}
    if "mentions" in fields:
        fields["mentions"] = _mentions_in(fields["mentions"], text)
    part = Record(
        id=f"{record.id}@{start}",
        fields=fields,
        answer=answer_within(record.answer, start, end),
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
