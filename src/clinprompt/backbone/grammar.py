"""Constrain an answer to the lines that its task allows, token by token. Knows no kind of task.

Holds mutable state: the lines that are finished, and the places that the current line may be at.

A place is in a text: fixed text of the line, or words of a passage. A token may come next if its
bytes continue the text at one of the places. At the end of a text they go on in the next piece of
the line, after the last piece with a line end. The ids that continue a text are found by a look-up
of each beginning of what follows, so a token costs about as many look-ups as it has places.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from clinprompt.backbone.answer_tokens import AnswerTokens
from clinprompt.tasks.kinds.allowed import AllowedLines, Passage, Piece

_LINE_END = "\n"
_AT_LINE_END: tuple[tuple[Piece, ...], ...] = ((), (_LINE_END,))  # what may follow a whole line
_NO_TEXT = Passage(b"", (), frozenset([0]))


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a text after its start, and the pieces that follow the text.

    The text may end at ``first_end`` or later; 0 if it has passed that place.
    """

    passage: Passage
    at: int
    rest: tuple[Piece, ...]
    first_end: int = 0

    @property
    def is_end_of_line(self) -> bool:
        """Return whether a whole line is written."""
        may_end = self.at >= self.first_end and self.at in self.passage.ends
        return may_end and self.rest in _AT_LINE_END


class LineConstraint:
    """The tokens that an answer may continue with; see ``backbone.constraint.Constraint``.

    ``start`` is what is written before the answer. If nothing else may come next, the answer ends.
    ``nothing_offset``, in nats, makes the answer that lists nothing less likely.
    """

    def __init__(
        self, tokens: AnswerTokens, lines: AllowedLines, *, start: str, nothing_offset: float = 0.0
    ) -> None:
        self._tokens, self._lines, self._start = tokens, lines, start
        self._nothing_offset = nothing_offset
        self._finished: list[str] = []
        self._current = b""
        self._places: tuple[_Place, ...] = ()
        self._without: frozenset[bytes] = frozenset()
        self._known: dict[tuple[bytes, Passage, tuple[Piece, ...]], tuple[int, ...]] = {}
        self._begin_line()

    def allowed(self) -> NDArray[np.int64]:
        """Return the ids [N] that may come next, in order; at least one."""
        ids = self._ids_at(self._places)
        if self._without:
            ids = np.setdiff1d(
                ids, np.fromiter(self._leading_nowhere(), dtype=np.int64), assume_unique=True
            )
        return ids if ids.size else np.array(self._tokens.end_ids)

    def lowered(self) -> tuple[NDArray[np.int64], float]:
        """Return the ids whose logits are lowered, and by how much, in nats."""
        ids = self.only_nothing() if self._nothing_offset else np.array([], dtype=np.int64)
        return ids, self._nothing_offset

    def ends(self) -> tuple[int, ...]:
        """Return the ids that end the answer, unless nothing of it is written."""
        return self._tokens.end_ids if self._finished or self._current else ()

    def only_nothing(self) -> NDArray[np.int64]:
        """Return the ids with which an answer starts that can only list nothing."""
        if self._finished or self._current:
            return np.array([], dtype=np.int64)
        *others, nothing = self._places
        return np.setdiff1d(self._ids_at([nothing]), self._ids_at(others))

    def accept(self, token: int) -> None:
        """Continue after a token; one that ends with a line end finishes the line."""
        written = self._tokens.bytes[token]
        self._places = _after(self._places, written)
        self._current += written
        # A mask that was not applied must not turn every answer into "nothing" in silence.
        assert self._places, f"token {token} was not allowed"
        if written.endswith(b"\n"):
            assert self._current[:-1] not in self._without, f"token {token} was not allowed"
            self._finished.append(self._written())
            self._begin_line()

    @property
    def text(self) -> str:
        """Return the answer so far, without a last line that is not complete."""
        is_complete = self._is_complete and self._current not in self._without
        lines = [*self._finished, self._written()] if is_complete else self._finished
        return "\n".join(lines) or self._lines.nothing

    @property
    def _is_complete(self) -> bool:
        return any(place.is_end_of_line for place in self._places)

    def _written(self) -> str:
        text = self._current.decode()
        return (text if self._finished else text.removeprefix(self._start)).removesuffix("\n")

    def _ids_at(self, places: Iterable[_Place]) -> NDArray[np.int64]:
        found = chain.from_iterable(
            self._continuing(b"", place.passage, place.at, place.rest, place.first_end)
            for place in places
        )
        return np.unique(np.fromiter(found, dtype=np.int64))

    def _begin_line(self) -> None:
        line, is_first = self._lines.next_line(self._finished), not self._finished
        start = (self._start,) if is_first and self._start else ()
        options = [(*start, *option, _LINE_END) for option in line.options]
        if is_first:
            options.append((self._start + self._lines.nothing,))
        self._current = b""
        self._places = tuple(_Place(_NO_TEXT, 0, option) for option in options)
        self._without = frozenset(one.encode() for one in line.without)

    def _continuing(
        self,
        before: bytes,
        passage: Passage,
        at: int,
        rest: tuple[Piece, ...],
        first_end: int,
    ) -> Iterator[int]:
        """Yield the ids whose bytes are ``before`` and then continue a text.

        The text may end at ``first_end`` or later.
        """
        ids, text, ends = self._tokens.ids, passage.text, passage.ends
        while True:
            if at >= first_end and at in ends:
                yield from self._following(before, rest)
            before += text[at : at + 1]
            found = ids.get(before) if at < len(text) else None
            if found is None:
                return
            yield from found
            at += 1

    def _following(self, before: bytes, rest: tuple[Piece, ...]) -> Sequence[int]:
        """Return the ids whose bytes are ``before`` and then start the next pieces of a line."""
        ends = self._tokens.end_ids if not before and rest in _AT_LINE_END else ()
        if not rest:
            return ends
        piece, rest = rest[0], rest[1:]
        if isinstance(piece, Passage):
            return self._at_starts(before, piece, rest)
        fixed = _fixed(piece)
        return (*ends, *self._continuing(before, fixed, 0, rest, fixed.first_end(0)))

    def _at_starts(
        self, before: bytes, passage: Passage, rest: tuple[Piece, ...]
    ) -> tuple[int, ...]:
        """Return the ids whose bytes are ``before`` and then start a run of words."""
        key = (before, passage, rest)
        if key not in self._known:
            ids = chain.from_iterable(
                self._continuing(before, passage, start, rest, passage.first_end(start))
                for start in passage.starts
            )
            self._known[key] = tuple(dict.fromkeys(ids))
        return self._known[key]

    def _leading_nowhere(self) -> Iterator[int]:
        """Yield the ids after which the line can only be one of those that it must not be."""
        for line in self._without:
            if not line.startswith(self._current):
                continue
            left = line[len(self._current) :] + b"\n"
            if left == b"\n":
                yield from self._tokens.end_ids
            for length in range(1, len(left) + 1):
                found = self._tokens.ids.get(left[:length])
                if found is None:
                    break
                if found and not self._leads_on(left[:length]):
                    yield from found

    def _leads_on(self, written: bytes) -> bool:
        lines = (
            self._current + written + left
            for place in _after(self._places, written)
            for left in _lines_from(place.passage, place.at, place.rest, place.first_end)
        )
        return not written.endswith(b"\n") and any(line not in self._without for line in lines)


def _after(places: Iterable[_Place], written: bytes) -> tuple[_Place, ...]:
    """Return the places where something that is written at one of the places may end, each once."""
    found = chain.from_iterable(
        _moved(place.passage, place.at, place.rest, written, place.first_end) for place in places
    )
    return tuple(dict.fromkeys(found))


def _moved(
    passage: Passage, at: int, rest: tuple[Piece, ...], written: bytes, first_end: int
) -> Iterator[_Place]:
    """Yield the places after something is written from a place on; see ``_continuing``."""
    for number, byte in enumerate(written):
        if at >= first_end and at in passage.ends and rest:
            for text, start in _starting_with(rest[0], byte):
                left = written[number:]
                yield from _moved(text, start, rest[1:], left, text.first_end(start))
        if at == len(passage.text) or passage.text[at] != byte:
            return
        at += 1
    yield _Place(passage, at, rest, first_end if at < first_end else 0)


def _lines_from(
    passage: Passage, at: int, rest: tuple[Piece, ...], first_end: int
) -> Iterator[bytes]:
    """Yield all that may complete a line from a place on, without the line end."""
    for end in range(max(at, first_end), len(passage.text) + 1):
        if end not in passage.ends:
            continue
        if rest in _AT_LINE_END:
            yield passage.text[at:end]
            continue
        for text, start in _starting_with(rest[0]):
            for left in _lines_from(text, start, rest[1:], text.first_end(start)):
                yield passage.text[at:end] + left


def _starting_with(piece: Piece, byte: int | None = None) -> Iterator[tuple[Passage, int]]:
    """Yield each start of a piece as a text and a place; with a byte, only starts before it."""
    passage = piece if isinstance(piece, Passage) else _fixed(piece)
    for start in passage.starts:
        if byte is None or passage.text[start] == byte:
            yield passage, start


@lru_cache(maxsize=1024)
def _fixed(text: str) -> Passage:
    written = text.encode()
    return Passage(written, (0,), frozenset([len(written)]))
