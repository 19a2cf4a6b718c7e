"""Keep the notes of a task that are to be corrected. Owns ``notes.jsonl`` and its notes.

A note has a number, by which everything else names it and which is never given again, and an id,
which is the name that its user gave. A note with the content of another is not kept twice.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clinprompt.errors import SettingError
from clinprompt.serving.teaching.lines import append_lines, read_lines, replace_lines
from clinprompt.tasks.records import Answer, Record

MOST_NOTES = 10_000
_SHARE_FOR_CHANCE = 0.25
_DIGITS = 16  # of a hash of a note


@dataclass(frozen=True, slots=True)
class NewNote:
    """A note that comes; without an ``id`` it gets one."""

    id: str
    fields: dict[str, str]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """A note; ``posting`` counts the requests that brought notes."""

    number: int
    id: str
    fields: dict[str, str]
    options: tuple[str, ...]
    posting: int

    def record(self, answer: Answer | None = None) -> Record:
        """Return the note as a record."""
        return Record(self.id, self.fields, answer, self.options)

    @property
    def content(self) -> str:
        """Return what makes two notes the same."""
        return _content(self.fields, self.options)

    @cached_property
    def digest(self) -> str:
        """Return the beginning of a hash of the content, which does not tell the content."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:_DIGITS]

    @cached_property
    def rank(self) -> float:
        """Return a number from 0 to 1 that says where the note is in random order."""
        return _fraction(f"order\n{self.content}")

    @cached_property
    def is_for_chance(self) -> bool:
        """Return whether the note is kept for random order as long as there are others."""
        return _fraction(f"kept\n{self.content}") < _SHARE_FOR_CHANCE

    def values(self) -> dict[str, Any]:
        """Return the note for a client."""
        others = {name: text for name, text in self.fields.items() if name != "text"}
        return {
            "note": self.number,
            "id": self.id,
            "text": self.fields.get("text", ""),
            "fields": others,
            "options": list(self.options),
        }


class Notes:
    """The notes of one task, by number in the order in which they came."""

    def __init__(self, path: Path) -> None:
        """Read the notes.

        Raises:
            DataError: a line is damaged.
        """
        self._path = path
        rows = read_lines(path)
        self._notes = {row["note"]: _note(row) for row in rows if "removed" not in row}
        self._last = max((row["note"] for row in rows), default=0)
        self._posting = max((one.posting for one in self._notes.values()), default=0)

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def __contains__(self, number: int) -> bool:
        return number in self._notes

    def __getitem__(self, number: int) -> Note:
        return self._notes[number]

    def add(self, coming: Sequence[NewNote]) -> list[tuple[Note, bool]]:
        """Keep notes; return each, and whether it is new. A note that is known keeps its number.

        Raises:
            SettingError: there would be too many notes.
            RunError: the notes cannot be written.
        """
        known = {note.content: note for note in self._notes.values()}
        used = {note.id for note in self._notes.values()}
        found: list[tuple[Note, bool]] = []
        for new in coming:
            content = _content(new.fields, new.options)
            is_new = content not in known
            if is_new:
                number = self._last + 1 + sum(was_new for _, was_new in found)
                known[content] = self._made(new, number, used)
            found.append((known[content], is_new))
        added = [note for note, is_new in found if is_new]
        if len(self._notes) + len(added) > MOST_NOTES:
            raise SettingError(
                f"notes: a task keeps at most {MOST_NOTES:,}; it has {len(self._notes):,} and "
                f"would get {len(added):,} more: delete some, or send fewer"
            )
        append_lines(self._path, map(_row, added))
        self._notes |= {note.number: note for note in added}
        self._last += len(added)
        self._posting += bool(added)
        return found

    def _made(self, new: NewNote, number: int, used: set[str]) -> Note:
        wanted = new.id.strip() or f"note-{number}"
        id_, count = wanted, 2
        while id_ in used:
            id_, count = f"{wanted}-{count}", count + 1
        used.add(id_)
        return Note(number, id_, dict(new.fields), new.options, self._posting + 1)

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove notes; only their numbers stay in the file.

        Raises:
            RunError: the notes cannot be written.
        """
        gone = set(numbers)
        left = {number: note for number, note in self._notes.items() if number not in gone}
        marks = [{"note": self._last, "removed": True}] if self._last not in left else []
        replace_lines(self._path, [*map(_row, left.values()), *marks])
        self._notes = left


def _content(fields: Mapping[str, str], options: Sequence[str]) -> str:
    return json.dumps([sorted(fields.items()), list(options)])


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _row(note: Note) -> dict[str, Any]:
    return {
        "note": note.number,
        "id": note.id,
        "fields": note.fields,
        "options": list(note.options),
        "posting": note.posting,
    }


def _note(row: dict[str, Any]) -> Note:
    return Note(row["note"], row["id"], row["fields"], tuple(row["options"]), row["posting"])
