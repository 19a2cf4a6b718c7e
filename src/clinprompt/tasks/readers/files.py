"""Open the files of a task: plain, gzipped, or members of an archive. Knows no formats.

A file is addressed relative to the task's folder. What follows ``!`` is a part of the file: the
members of an archive that match a pattern (``notes.tar.gz!train/*.txt``), the sheet of a workbook
(``book.xlsx!train``), or what else a reader takes it for.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from clinprompt.errors import DataError

_TAR = (".tar", ".tar.gz", ".tgz")
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One readable file: ``name`` is shown in errors, ``part`` is what follows ``!``."""

    name: str
    path: Path
    load: Callable[[], bytes] = field(repr=False, compare=False)
    part: str = ""

    @property
    def stem(self) -> str:
        """Return the file's name without folders and suffixes."""
        inner = self.part if is_archive(self.path) else self.path.name
        return inner.rpartition("/")[2].partition(".")[0]

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            return self.load()
        except _DAMAGED as error:
            raise self.error(f"damaged: {error}; fetch the file again") from error
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from error

    def text(self) -> str:
        """Return the file as text; line ends stay as they are, a byte order mark is dropped.

        Raises:
            DataError: the file is missing, damaged or not UTF-8.
        """
        content = self.content()
        try:
            return content.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            remedy = f"byte {error.start} is not UTF-8; save the file as UTF-8"
            raise self.error(remedy, line) from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield each line with its number, first is 1. Only LF and CRLF end a line, and are cut."""
        for number, line in enumerate(self.text().split("\n"), start=1):
            yield number, line.removesuffix("\r")

    def sibling(self, name: str) -> "DataFile":
        """Return the plain file ``name`` that lies beside this one."""
        path = self.path.with_name(name)
        return DataFile(str(path), path, path.read_bytes)

    def error(self, message: str, line: int | None = None) -> DataError:
        """Return the error that says what is wrong in this file, at a line where one is known."""
        return DataError(f"{self.name}:{line}: {message}" if line else f"{self.name}: {message}")


def is_archive(path: Path) -> bool:
    """Tell whether a file holds members of its own."""
    return path.name.endswith((*_TAR, ".zip"))


def open_files(folder: Path, address: str) -> tuple[DataFile, ...]:
    """Open what ``address`` names below ``folder``: one file, or members of an archive in order.

    Raises:
        DataError: a file is missing, an archive is damaged, or no member matches.
    """
    name, _, part = address.partition("!")
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: no such file; fetch the task's files again or mend card.files")
    if is_archive(path):
        return _members(path, part or "*")
    shown = f"{path}!{part}" if part else str(path)
    return (DataFile(shown, path, lambda: _load(path), part),)


def _load(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _members(path: Path, pattern: str) -> tuple[DataFile, ...]:
    archive = DataFile(str(path), path, path.read_bytes)
    unpack = _unzip if path.suffix == ".zip" else _untar
    try:
        found = sorted(unpack(archive.content(), pattern))
    except (*_DAMAGED, OSError) as error:
        raise archive.error("damaged archive; fetch the file again") from error
    if not found:
        raise archive.error(f"no member matches {pattern!r}; mend the part after '!' in card.files")
    return tuple(_member(path, name, content) for name, content in found)


def _member(path: Path, name: str, content: bytes) -> DataFile:
    unpacked = (lambda: gzip.decompress(content)) if name.endswith(".gz") else (lambda: content)
    return DataFile(f"{path}!{name}", path, unpacked, name)


def _unzip(content: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if not name.endswith("/") and _matches(name, pattern):
                yield name, archive.read(name)


def _untar(content: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is not None and _matches(member.name, pattern):
                yield member.name, opened.read()


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.removeprefix("./"), pattern.removeprefix("./"))
