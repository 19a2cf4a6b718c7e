"""Keep what was offered, corrected, skipped and undone. Owns ``corrections.jsonl``.

The file is a log, and everything follows from it. Each correction says what the model had answered
(``said``), which prompt that was (``prompt``, ``version``), how the note had been chosen
(``order``), and whether it counts for the test of that prompt (``counts``, see ``choosing``).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from clinprompt.errors import DataError, SettingError
from clinprompt.serving.teaching.lines import append_lines, read_lines, replace_lines

Order = Literal["least_sure", "random"]
State = Literal["waiting", "corrected", "skipped"]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A note that was offered for correction, with what the served prompt answered.

    ``prompt`` is the beginning of the content hash of that prompt, ``version`` its version (None:
    it is none of the task's own). ``compared`` is the number of notes among which the note was
    chosen. ``time`` counts seconds since 1970.
    """

    note: int
    order: Order
    counts: bool
    prompt: str
    version: int | None
    said: Values
    compared: int
    time: float


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of an offer: ``answer`` is the right one, or None if the note was skipped."""

    offer: Offer
    answer: Values | None
    time: float


@dataclass(slots=True)
class _Entry:
    """The last offer of a note, and what was made of its offers, the last one last."""

    offer: Offer
    made: list[Made] = field(default_factory=list)


class Corrections:
    """The log of one task, and what follows from it."""

    def __init__(self, path: Path) -> None:
        """Read the log.

        Raises:
            DataError: a line is damaged.
        """
        self._path = path
        self._read(read_lines(path))

    def _read(self, rows: Iterable[Values]) -> None:
        self._rows: list[Values] = []
        self._entries: dict[int, _Entry] = {}  # by note, in the order of their last offers
        self._order: list[int] = []  # the notes that were corrected or skipped, the last one last
        for number, row in enumerate(rows, start=1):
            try:
                self._apply(row)
            except (KeyError, IndexError) as error:
                raise DataError(
                    f"{self._path}:{number}: does not fit the lines before it; delete this line, "
                    "and start the server again"
                ) from error

    @property
    def can_undo(self) -> bool:
        """Return whether a correction or a skip can be undone."""
        return bool(self._order)

    def state(self, note: int) -> State:
        """Return what became of a note."""
        entry = self._entries.get(note)
        if entry is None or not entry.made:
            return "waiting"
        return "skipped" if entry.made[-1].answer is None else "corrected"

    def offer(self, note: int) -> Offer | None:
        """Return the last offer of a note."""
        return self._entries[note].offer if note in self._entries else None

    def open_offers(self) -> list[Offer]:
        """Return the offers of which nothing was made yet, the last one first."""
        return [one.offer for one in reversed(self._entries.values()) if not one.made]

    def corrected(self) -> list[Made]:
        """Return the last correction of each note that is corrected."""
        return [made for made in self._last_made() if made.answer is not None]

    def skipped(self) -> list[Made]:
        """Return the skips that were not undone."""
        return [made for made in self._last_made() if made.answer is None]

    def _last_made(self) -> list[Made]:
        return [entry.made[-1] for entry in self._entries.values() if entry.made]

    def add_offer(self, offer: Offer) -> None:
        """Write that a note was offered.

        Raises:
            RunError: the log cannot be written.
        """
        self._write({"event": "offered", **asdict(offer)})

    def correct(self, note: int, answer: Values | None, *, time: float) -> None:
        """Write the right answer to the last offer of a note; None skips it.

        Raises:
            SettingError: the note was not offered.
            RunError: the log cannot be written.
        """
        offer = self.offer(note)
        if offer is None:
            raise SettingError(f"note {note}: was not offered; ask for an offer first")
        if answer is None:
            self._write({"event": "skipped", "made": time, **asdict(offer)})
        else:
            self._write({"event": "corrected", "made": time, "answer": answer, **asdict(offer)})

    def undo(self, *, time: float) -> Made:
        """Take back the last correction or skip, and return it.

        Raises:
            SettingError: there is none.
            RunError: the log cannot be written.
        """
        if not self._order:
            raise SettingError("nothing was corrected or skipped, so nothing can be undone")
        last = self._entries[self._order[-1]].made[-1]
        self._write({"event": "undone", "note": last.offer.note, "made": time})
        return last

    def remove(self, notes: Collection[int]) -> None:
        """Remove all lines about notes.

        Raises:
            RunError: the log cannot be written.
        """
        left = [row for row in self._rows if row["note"] not in notes]
        replace_lines(self._path, left)  # also if none is gone: an incomplete line may be
        self._read(left)

    def _write(self, row: Values) -> None:
        append_lines(self._path, [row])
        self._apply(row)

    def _apply(self, row: Values) -> None:
        self._rows.append(row)
        note, event = row["note"], row["event"]
        if event == "undone":
            self._entries[note].made.pop()
            self._order.pop()
            return
        entry = self._entries.get(note) or _Entry(_offer_of(row))
        if event == "offered":
            self._entries.pop(note, None)
            entry.offer = _offer_of(row)
        else:
            entry.made.append(Made(_offer_of(row), row.get("answer"), row["made"]))
            self._order.append(note)
        self._entries[note] = entry


_OFFER = tuple(one.name for one in fields(Offer))


def _offer_of(row: Values) -> Offer:
    return Offer(**{name: row[name] for name in _OFFER})
