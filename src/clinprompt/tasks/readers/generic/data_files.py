"""Open the files of a task: plain, gzipped, or members of an archive. Knows no formats.

An address is a path relative to the task's folder, or a pattern for several files
(``notes/*.ann``). The text after ``!`` names a part of the file: the members of an archive that
match a pattern (``notes.tar.gz!train/*.txt``), the sheet of a workbook (``book.xlsx!train``), or
another part that a reader defines. Before ``!``, ``*`` stays within one folder; after it, ``*``
also matches ``/``. Files named ``._...``, which macOS adds, match no pattern.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path

from clinprompt.errors import DataError

_JUNK = "._"
_GZIP = b"\x1f\x8b"
_TAR = (".tar", ".tar.gz", ".tgz")
DAMAGED = (
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,  # from zipfile: a member is (or looks) encrypted or has an unknown compression
    ValueError,  # from zipfile: a member starts before the archive
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One readable file: ``name`` is shown in errors, ``part`` is the text after ``!``.

    ``place`` is the file's path in its archive, or below the task's folder if it is in none.
    ``members`` returns the content of every member of its archive by name; None for a plain file.
    """

    name: str
    path: Path
    load: Callable[[], bytes] = field(repr=False, compare=False)
    part: str = ""
    place: str = ""
    members: Callable[[], Mapping[str, bytes]] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def stem(self) -> str:
        """Return the file's name without folders and suffixes."""
        inner = self.part if is_archive(self.path) else self.path.name
        return _file_name(inner).partition(".")[0]

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            return self.load()
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
            DataError: the archive has no such member. A plain file is not opened before it is read.
        """
        place = _beside(self.place, name)
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
        place = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        opened.append(DataFile(shown, path, partial(_load, path), part, place))
    return tuple(opened)


def _found(folder: Path, name: str) -> tuple[Path, ...]:
    path = folder / name
    if path.is_file():
        return (path,)
    is_pattern = any(character in name for character in "*?[") and not Path(name).is_absolute()
    if not is_pattern:
        raise DataError(f"{path}: no such file; fetch the task's files again or correct card.files")
    found = (path for path in sorted(folder.glob(name)) if path.is_file())
    matching = tuple(path for path in found if not path.name.startswith(_JUNK))
    if not matching:
        raise DataError(f"{path}: no file matches this pattern; correct card.files")
    return matching


def _load(path: Path) -> bytes:
    content = path.read_bytes()
    return _gunzip(content) if path.suffix == ".gz" else content


def _gunzip(content: bytes) -> bytes:
    if not content:  # gzip accepts this as a complete file
        raise EOFError("the file is empty")
    return gzip.decompress(content)


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
    unpack = _unzip if archive.path.suffix == ".zip" else _untar
    try:
        return dict(unpack(archive.content(), pattern))
    except (*DAMAGED, OSError) as error:
        raise archive.error("damaged archive; fetch the file again") from error


def _member(
    path: Path, name: str, content: bytes, members: Callable[[], Mapping[str, bytes]]
) -> DataFile:
    unpacked = (lambda: _gunzip(content)) if name.endswith(".gz") else (lambda: content)
    return DataFile(f"{path}!{name}", path, unpacked, name, name, members)


def _unzip(content: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if not name.endswith("/") and _matches(name, pattern):
                yield name, archive.read(name)


def _untar(content: bytes, pattern: str) -> Iterator[tuple[str, bytes]]:
    # Unpack everything first: that verifies the checksum at the end, which tarfile may not reach.
    content = _gunzip(content) if content.startswith(_GZIP) else content
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is not None and _matches(member.name, pattern):
                yield member.name, opened.read()
        end = content[archive.offset : archive.offset + tarfile.BLOCKSIZE]
        if end != bytes(tarfile.BLOCKSIZE):  # tarfile reads a damaged header as the end
            raise tarfile.ReadError("no end of the archive")


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
