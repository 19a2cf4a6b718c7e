"""Read new notes from text files, folders of them, JSON Lines or Parquet, one after the other.

Knows no models or tasks. Only the note that is being read is in memory, and of a Parquet file one
batch of rows. A damaged note raises an error only when its own text is asked for.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from clinprompt.errors import DataError, SettingError, how_to_install
from clinprompt.tasks.records import Record

_TEXT, _PARQUET = ".txt", ".parquet"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_NOTE_BYTES = 64 * 1024 * 1024  # longer ones are not read
_PARQUET_ROWS = 256  # read at a time


class RawNote(Protocol):
    """A note that was found but not read.

    ``number`` counts from 1: the line of a JSON Lines file, the row of a Parquet file, or the text
    file in order of name. A blank line has a number too.
    """

    @property
    def number(self) -> int:
        """Return the number of the note."""
        ...

    @property
    def place(self) -> str:
        """Return the file, and in a file of several notes the line or row."""
        ...

    @property
    def is_blank(self) -> bool:
        """Return whether this is a blank line."""
        ...

    def read(self) -> Record:
        """Return the note.

        Raises:
            DataError: it cannot be read, or is not an object of texts.
        """
        ...


@dataclass(frozen=True, slots=True)
class _TextFile:
    number: int
    path: Path
    is_blank = False

    @property
    def place(self) -> str:
        return str(self.path)

    def read(self) -> Record:
        try:
            if self.path.stat().st_size > MAX_NOTE_BYTES:
                raise DataError(f"{self.path}: {_too_large()}")
            content = self.path.read_bytes()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return Record(self.path.stem, {"text": _decoded(content, str(self.path))})


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a JSON Lines file. ``content`` is None if it is too large."""

    number: int
    path: Path
    content: bytes | None

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def is_blank(self) -> bool:
        return self.content is not None and not self.content.strip()

    def read(self) -> Record:
        place = self.place
        if self.content is None:
            raise DataError(f"{place}: {_too_large()}")
        if self.is_blank:
            raise DataError(f"{place}: a blank line; write one JSON object a line")
        try:
            values = json.loads(_decoded(self.content, place))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not JSON; write one object a line") from error
        if not isinstance(values, dict):
            raise DataError(f'{place}: not an object; write {{"id": "1", "text": "..."}}')
        return _record(values, place, self.number)


@dataclass(frozen=True, slots=True)
class _TableRow:
    number: int
    path: Path
    values: Mapping[str, Any]
    is_blank = False

    @property
    def place(self) -> str:
        return f"{self.path}, row {self.number}"

    def read(self) -> Record:
        return _record(self.values, self.place, self.number)


@dataclass(frozen=True, slots=True)
class InputDigest:
    """What identifies the notes of an input: bytes, SHA-256 of the content, number of notes."""

    num_bytes: int
    sha256: str
    num_notes: int


def read_notes(path: Path, check: Callable[[Record], object] = lambda _: None) -> Iterator[Record]:
    """Yield the notes of a ``.txt`` file, a folder of them, or a JSON Lines or Parquet file.

    A ``.txt`` file is one note, and its id is the file's name without ``.txt``. A folder gives its
    ``.txt`` files in order of name; folders inside it are not read, nor are hidden files. Line ends
    stay as they are in the file, so offsets count CR LF as two characters. A byte order mark at the
    beginning of a file is dropped and not counted. Blank lines of JSON Lines are skipped. The id of
    a note without one is its number, which must not be the id of another note. ``check`` may raise
    a DataError for a note; the error then also names the note's file and line.

    Raises:
        DataError: a file is missing or not UTF-8, there are no notes, a line of a JSON Lines file
            is not an object of texts, or a note without an id has the id of another.
        SettingError: pyarrow, which reads Parquet, is not installed.
    """
    check_notes_exist(path)
    is_number: dict[str, bool] = {}  # by id, whether it is the number of its note
    for raw in raw_notes(path):
        if raw.is_blank:
            continue
        note = raw.read()
        own = note.id == str(raw.number)
        if note.id in is_number and (own or is_number[note.id]):
            raise DataError(
                f"{raw.place}: two notes have the id {note.id!r}; a note without an id gets its "
                "number as id, so give every note an id"
            )
        is_number[note.id] = own
        try:
            check(note)
        except DataError as error:
            raise DataError(f"{raw.place}: {error}") from error
        yield note


def check_notes_exist(path: Path) -> None:
    """Check that a file or folder of notes exists, without reading it.

    Raises:
        DataError: it does not.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of notes; correct its name")


def raw_notes(path: Path) -> Iterator[RawNote]:
    """Yield the notes of an input without reading them; see ``read_notes``.

    Raises:
        DataError: a file is missing, or there are no notes.
        SettingError: pyarrow, which reads Parquet, is not installed.
    """
    if path.is_dir():
        files = enumerate(_text_files(path), start=1)
        yield from (_TextFile(number, one) for number, one in files)
    elif path.suffix.lower() == _TEXT:
        yield _TextFile(1, path)
    elif path.suffix.lower() == _PARQUET:
        yield from _table_rows(path)
    else:
        yield from _lines(path)


def digest_of(path: Path) -> InputDigest:
    """Return what identifies the notes of an input.

    Raises:
        DataError: a file cannot be read, or there are no notes.
        SettingError: pyarrow, which reads Parquet, is not installed.
    """
    num_notes = sum(1 for _ in raw_notes(path))
    files = _text_files(path) if path.is_dir() else [path]
    whole, num_bytes = hashlib.sha256(), 0
    for one in files:
        try:
            with one.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").digest()
                num_bytes += stream.tell()
        except OSError as error:
            raise _unreadable(one, error) from error
        whole.update((one.name.encode() if path.is_dir() else b"") + own)
    return InputDigest(num_bytes, whole.hexdigest(), num_notes)


def require_parquet() -> ModuleType:
    """Return the module that reads and writes Parquet files.

    Raises:
        SettingError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise SettingError(f"Parquet needs the package pyarrow; {how_to_install('parquet')}")
    return import_module("pyarrow.parquet")


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


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines of a file, without blank lines at its end."""
    blank: list[_Line] = []
    found = False
    for line in _all_lines(path):
        if line.is_blank:
            blank.append(line)
        else:
            found = True
            yield from blank
            yield line
            blank = []
    if not found:
        raise DataError(f"{path}: holds no notes; write one JSON object a line")


def _all_lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open("rb") as stream:
            number = 0
            while content := stream.readline(MAX_NOTE_BYTES):
                number += 1
                is_whole = len(content) < MAX_NOTE_BYTES
                own = content.removeprefix(_BYTE_ORDER_MARK) if number == 1 else content
                yield _Line(number, path, own if is_whole else None)
                while not is_whole and not content.endswith(b"\n"):
                    content = stream.readline(MAX_NOTE_BYTES) or b"\n"
    except OSError as error:
        raise _unreadable(path, error) from error


def _table_rows(path: Path) -> Iterator[_TableRow]:
    parquet = require_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield _TableRow(number, path, values)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # pyarrow's own errors are of this class
        raise DataError(f"{path}: not a Parquet file; write it again") from error
    if not number:
        raise DataError(f"{path}: holds no notes; write one row for each note")


def _decoded(content: bytes, place: str) -> str:
    """Return a text with its line ends unchanged and without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 text; save it as UTF-8") from error


def _record(values: Mapping[str, Any], place: str, number: int) -> Record:
    options = values.get("options")
    options = [] if options is None else options
    if not isinstance(options, list):
        raise DataError(f'{place}: options is not a list; write "options": ["...", "..."]')
    fields = {
        name: value
        for name, value in values.items()
        if isinstance(value, str) and name not in ("id", "options")
    }
    if not fields:
        raise DataError(f'{place}: has no text field; write {{"id": "1", "text": "..."}}')
    identity = values.get("id")
    try:
        return Record(
            str(number if identity is None else identity), fields, options=tuple(map(str, options))
        )
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _too_large() -> str:
    return f"larger than {MAX_NOTE_BYTES >> 20} MiB; split it into several notes"


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror or error})")
