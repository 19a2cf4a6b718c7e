"""Read new notes from text files, folders of them, or JSON Lines. Knows no models or tasks."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from clinprompt.errors import DataError
from clinprompt.tasks.records import Record

_TEXT = ".txt"


def read_notes(path: Path, check: Callable[[Record], object] = lambda _: None) -> Iterator[Record]:
    """Yield the notes of a ``.txt`` file, of a folder of them, or of a JSON Lines file.

    A ``.txt`` file is one note, and its id is the file's name without ``.txt``. A folder gives its
    ``.txt`` files in order of name; folders inside it are not read, nor are hidden files. Line ends
    stay as they are in the file, so offsets count CR LF as two characters. A byte order mark at the
    beginning of a file is dropped and not counted. ``check`` may raise a DataError for a note; the
    error then also names the note's file and line.

    Raises:
        DataError: a file is missing or not UTF-8, there are no notes, or a line of a JSON Lines
            file is not an object of texts.
    """
    check_notes_exist(path)
    for place, note in _placed_notes(path):
        try:
            check(note)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        yield note


def check_notes_exist(path: Path) -> None:
    """Check that a file or folder of notes exists, without reading it.

    Raises:
        DataError: it does not.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of notes; correct its name")


def _placed_notes(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield each note with its file and, in JSON Lines, its line."""
    if path.is_dir():
        for one in _text_files(path):
            yield str(one), _text_note(one)
    elif path.suffix.lower() == _TEXT:
        yield str(path), _text_note(path)
    else:
        yield from _json_notes(path)


def _text_files(folder: Path) -> list[Path]:
    found = sorted(
        one
        for one in folder.iterdir()
        if one.suffix.lower() == _TEXT and not one.name.startswith(".") and one.is_file()
    )
    if not found:
        raise DataError(
            f"{folder}: holds no .txt files; give a folder with one .txt file for each note "
            "(folders inside it are not read)"
        )
    return found


def _text_note(path: Path) -> Record:
    return Record(path.stem, {"text": _read(path)})


def _json_notes(path: Path) -> Iterator[tuple[str, Record]]:
    lines = _read(path).split("\n")
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: holds no notes; write one JSON object a line")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{path}:{number}"
            yield place, _note(line, place, number)


def _read(path: Path) -> str:
    """Return a file's text with its line ends unchanged and without a byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _note(line: str, place: str, number: int) -> Record:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place}: not JSON; write one object a line") from error
    if not isinstance(values, dict):
        raise DataError(f'{place}: not an object; write {{"id": "1", "text": "..."}}')
    options = values.pop("options", [])
    if not isinstance(options, list):
        raise DataError(f'{place}: options is not a list; write "options": ["...", "..."]')
    identity = str(values.pop("id", number))
    fields = {name: value for name, value in values.items() if isinstance(value, str)}
    if not fields:
        raise DataError(f'{place}: has no text field; write {{"id": "1", "text": "..."}}')
    try:
        return Record(identity, fields, options=tuple(str(option) for option in options))
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
