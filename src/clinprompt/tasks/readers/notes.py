"""Collect what readers read differently from how it is written in the files. Knows no formats."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from clinprompt.tasks.readers.generic.data_files import DataFile


@runtime_checkable
class ReaderWithNotes(Protocol):
    """A reader that says what it reads differently."""

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield a line for each thing in a file that is read differently."""


def reading_notes(reader: object, files: Sequence[DataFile]) -> tuple[str, ...]:
    """Return the notes on the files, each once, with the number of files that it is about.

    Raises:
        DataError: a file is damaged.
    """
    if not isinstance(reader, ReaderWithNotes):
        return ()
    places: dict[str, list[str]] = {}
    for file in files:
        for note in reader.notes(file):
            places.setdefault(note, []).append(file.place)
    if len(files) == 1:
        return tuple(places)
    return tuple(
        f"{note} ({len(own)} of {len(files)} files, such as {own[0]})"
        for note, own in places.items()
    )
