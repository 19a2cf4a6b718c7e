"""Open the files of a task: plain, gzipped, or members of an archive. Knows no formats.

An address is a path relative to the task's folder, or a pattern for several files
(``notes/*.ann``). The text after ``!`` names a part of the file: the members of an archive that
match a pattern (``notes.tar.gz!train/*.txt``), the sheet of a workbook (``book.xlsx!train``), or
another part that a reader defines. Before ``!``, ``*`` stays within one folder; after it, ``*``
also matches ``/``. Files named ``._...``, which macOS adds, match no pattern.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.archives import (
    DAMAGED,
    Unsafe,
    gunzip,
    leads_out,
    untar,
    unzip,
)

Key = TypeVar("Key")

_JUNK = "._"
_MAX_NAME_BYTES = 255  # of a file or folder, on all usual systems
_TAR = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One readable file: ``name`` is shown in errors, ``part`` is the text after ``!``.

    ``place`` is the file's path in its archive, or below the task's folder if it is in none.
    ``members`` returns the content of every member of its archive by name; None for a plain file.
    ``has_namesake`` says that another file of the task has the same ``stem``.
    """

    name: str
    path: Path
    load: Callable[[], bytes] = field(repr=False, compare=False)
    part: str = ""
    place: str = ""
    members: Callable[[], Mapping[str, bytes]] | None = field(
        default=None, repr=False, compare=False
    )
    has_namesake: bool = False

    @property
    def stem(self) -> str:
        """Return the file's name without folders and suffixes."""
        inner = self.part if is_archive(self.path) else self.path.name
        return _file_name(inner).partition(".")[0]

    @property
    def label(self) -> str:
        """Return what the ids of records without their own begin with: the stem, if it tells.

        With a namesake it is the file's place, with the name of its archive and its part.
        """
        if not self.has_namesake:
            return self.stem
        if is_archive(self.path):
            return f"{self.path.name}!{self.place}"
        return f"{self.place}!{self.part}" if self.part else self.place

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            return self.load()
        except Unsafe as error:
            raise self.error(str(error)) from error
        except DAMAGED as error:
            raise self.error(f"damaged: {error}; fetch the file again") from error
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from error

    def text(self) -> str:
        """Return the file as text, with its line ends and without a byte order mark.

        Raises:
            DataError: the file is missing, damaged or not UTF-8.
        """
        content = self.content()
        try:
            return content.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
            raise self.error(message, line) from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line with its number from 1, without its end. Only LF and CRLF end a line."""
        for number, line in enumerate(self.text().split("\n"), start=1):
            yield number, line.removesuffix("\r")

    def filled_lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line that is not blank, with its number."""
        return ((number, line) for number, line in self.lines() if line.strip())

    def sibling(self, name: str) -> "DataFile":
        """Return the file ``name`` in the same folder as this one, or in the same archive.

        ``name`` may be a path into a folder (``reports/7.json``) or up (``../reports/7.json``).

        Raises:
            DataError: the path leads out of the task's folder, or the archive has no such member.
                A plain file is not opened before it is read.
        """
        place = _beside(self.place, name)
        check_inside(name if name.startswith("/") else place, f"{self.name}: the card")
        if self.members is None:
            path = self.path.parent / name
            return DataFile(str(path), path, partial(_load, path), place=place)
        if place not in self.members():
            raise self.error(f"the archive has no {name!r} next to it; correct card.files")
        return _member(self.path, place, self.members()[place], self.members)

    def error(self, message: str, line: int | None = None) -> DataError:
        """Return an error that names this file, and the line if one is known."""
        return DataError(f"{self.name}:{line}: {message}" if line else f"{self.name}: {message}")

    @contextmanager
    def errors_at(self, line: int | None = None) -> Iterator[None]:
        """Add this file's name, and the line if given, to a ``DataError`` that the block raises."""
        try:
            yield
        except DataError as error:
            raise self.error(str(error), line) from error


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive with members."""
    return path.name.endswith((*_TAR, ".zip"))


def open_files(folder: Path, address: str) -> tuple[DataFile, ...]:
    """Open the files, or members of archives, that ``address`` names below ``folder``, in order.

    Raises:
        DataError: a file is missing, an archive is damaged, or nothing matches a pattern.
    """
    name, _, part = address.partition("!")
    opened: list[DataFile] = []
    for path in _found(folder, name):
        if is_archive(path):
            opened += _members(path, part or "*")
            continue
        shown = f"{path}!{part}" if part else str(path)
        place = path.relative_to(folder).as_posix()
        opened.append(DataFile(shown, path, partial(_load, path), part, place))
    return tuple(opened)


def know_namesakes(opened: Mapping[Key, Sequence[DataFile]]) -> dict[Key, tuple[DataFile, ...]]:
    """Return the files of all splits of a task; those that share a stem with another know it."""
    stems = Counter(file.stem for files in opened.values() for file in files)
    return {
        key: tuple(replace(file, has_namesake=stems[file.stem] > 1) for file in files)
        for key, files in opened.items()
    }


def check_inside(place: str, what: str) -> None:
    """Check that a path of a card stays in the task's folder and is one that a file can have.

    Raises:
        DataError: it does not; ``what`` says where the path is named.
    """
    if leads_out(place):
        raise DataError(
            f"{what} names {place[:80]!r}, which leads out of the task's folder; put the file "
            "into the folder and name it there"
        )
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in place.split("/")):
        raise DataError(f"{what} names {place[:80]!r}…, which is too long for a file's name")


def _found(folder: Path, name: str) -> tuple[Path, ...]:
    check_inside(name, f"{folder}: card.files")
    path = folder / name
    if path.is_file():
        return (path,)
    is_pattern = any(character in name for character in "*?[")
    if not is_pattern:
        raise DataError(f"{path}: no such file; fetch the task's files again or correct card.files")
    try:
        found = [path for path in sorted(folder.glob(name)) if path.is_file()]
    except ValueError as error:
        raise DataError(f"{path}: not a pattern of files ({error}); correct card.files") from error
    matching = tuple(path for path in found if not path.name.startswith(_JUNK))
    if not matching:
        raise DataError(f"{path}: no file matches this pattern; correct card.files")
    return matching


def _load(path: Path) -> bytes:
    content = path.read_bytes()
    return gunzip(content) if path.suffix == ".gz" else content


def _members(path: Path, pattern: str) -> tuple[DataFile, ...]:
    archive = DataFile(str(path), path, path.read_bytes)
    found = sorted(_unpacked(archive, pattern).items())
    if not found:
        raise archive.error(
            f"no member matches {pattern!r}; correct the text after '!' in card.files"
        )
    everything = cache(lambda: _unpacked(archive, "*"))  # unpacked when first needed
    return tuple(_member(path, name, content, everything) for name, content in found)


def _unpacked(archive: DataFile, pattern: str) -> dict[str, bytes]:
    unpack = unzip if archive.path.suffix == ".zip" else untar
    try:
        return dict(unpack(archive.content(), partial(_matches, pattern=pattern)))
    except Unsafe as error:
        raise archive.error(str(error)) from error
    except (*DAMAGED, OSError) as error:
        raise archive.error("damaged archive; fetch the file again") from error


def _member(
    path: Path, name: str, content: bytes, members: Callable[[], Mapping[str, bytes]]
) -> DataFile:
    unpacked = (lambda: gunzip(content)) if name.endswith(".gz") else (lambda: content)
    return DataFile(f"{path}!{name}", path, unpacked, name, name, members)


def _matches(name: str, pattern: str) -> bool:
    if _file_name(name).startswith(_JUNK):
        return False
    return fnmatchcase(name.removeprefix("./"), pattern.removeprefix("./"))


def _file_name(place: str) -> str:
    return place.rpartition("/")[2]


def _beside(place: str, name: str) -> str:
    folder = place.rpartition("/")[0]
    while name.startswith("../") and folder:
        folder, name = folder.rpartition("/")[0], name.removeprefix("../")
    return f"{folder}/{name}" if folder else name
