"""Unpack archives in memory, within limits: they may come from others. Knows no names of files.

Nothing is written to the disk. An archive that unpacks to too much, or has a member with a path
that leads out of it, raises ``Unsafe``. Links and devices in it are left out.
"""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

MAX_MEMBERS = 100_000
MAX_BYTES = 256 << 20  # of all members together
MAX_RATIO = 100  # unpacked bytes for each byte of the archive, beyond the first ones:
FREE_BYTES = 16 << 20
_GZIP = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20
DAMAGED = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,  # from zipfile: a member is (or looks) encrypted or has an unknown compression
    ValueError,  # from zipfile: a member starts before the archive
    OverflowError,  # from both: a size or place is too large
)


class Readable(Protocol):
    """What unpacked bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most ``size``."""
        ...


class Unsafe(Exception):  # noqa: N818 - the archive is not damaged
    """Signal that an archive exceeds a limit; the message says which, and what to do."""


class Budget:
    """How much may still be unpacked from an archive of a given size."""

    def __init__(self, packed_bytes: int) -> None:
        self._left = min(MAX_BYTES, FREE_BYTES + MAX_RATIO * packed_bytes)
        self._members = MAX_MEMBERS

    def take(self, num_bytes: int) -> None:
        """Count unpacked bytes.

        Raises:
            Unsafe: these are too many.
        """
        self._left -= num_bytes
        if self._left < 0:
            raise Unsafe(
                f"unpacks to more than {MAX_BYTES >> 20} MiB, or to more than {MAX_RATIO} times "
                "its size; if you trust it, unpack it yourself and name the files"
            )

    def take_member(self, name: str) -> None:
        """Count a member, and check that its path stays in the archive.

        Raises:
            Unsafe: there are too many members, or this one leads out of the archive.
        """
        self._members -= 1
        if self._members < 0:
            raise Unsafe(
                f"has more than {MAX_MEMBERS:,} members; if you trust it, unpack it yourself and "
                "name the files"
            )
        if leads_out(name):
            raise Unsafe(
                f"a member has the path {name[:80]!r}, which leads out of the archive; pack it "
                "again with relative paths"
            )

    def read(self, stream: Readable) -> bytes:
        """Return all that a stream unpacks to.

        Raises:
            Unsafe: it is too much.
        """
        return b"".join(self.blocks(stream))

    def blocks(self, stream: Readable) -> Iterator[bytes]:
        """Yield all that a stream unpacks to, block by block.

        Raises:
            Unsafe: it is too much.
        """
        while block := stream.read(_BLOCK_BYTES):
            self.take(len(block))
            yield block


def leads_out(name: str) -> bool:
    """Return whether a path is absolute, leads up, or holds a character that no name has."""
    path = name.replace("\\", "/")
    return path.startswith("/") or path[1:3] == ":/" or "\0" in path or ".." in path.split("/")


def gunzip(content: bytes, budget: Budget | None = None) -> bytes:
    """Return the content of a gzip.

    Raises:
        Unsafe: it is too much.
        EOFError, zlib.error, gzip.BadGzipFile: it is damaged.
    """
    if not content:  # gzip accepts this as a complete file
        raise EOFError("the file is empty")
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        return (budget or Budget(len(content))).read(stream)


def unzip(content: bytes, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the wanted members of a zip.

    Raises:
        Unsafe: it exceeds a limit.
        OSError, and those in ``DAMAGED``: it is damaged.
    """
    budget = Budget(len(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            budget.take_member(member.filename)
            is_folder = member.filename.endswith("/")
            if not is_folder and is_wanted(member.filename):
                with archive.open(member) as stream:
                    yield member.filename, budget.read(stream)


def check_zip(content: bytes) -> None:
    """Check that a zip which a library unpacks stays within the limits.

    Raises:
        Unsafe: it exceeds a limit.
        OSError, and those in ``DAMAGED``: it is damaged.
    """
    budget = Budget(len(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            budget.take_member(member.filename)
            budget.take(member.file_size)  # zipfile never unpacks more than this


def untar(content: bytes, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the wanted files of a tar, which may be gzipped.

    Raises:
        Unsafe: it exceeds a limit.
        OSError, and those in ``DAMAGED``: it is damaged.
    """
    budget = Budget(len(content))
    # Unpack everything first: that verifies the checksum at the end, which tarfile may not reach.
    content = gunzip(content, budget) if content.startswith(_GZIP) else content
    budget = Budget(len(content))  # a sparse member is larger than what is stored of it
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member, stream in files_of(archive, budget):
            if is_wanted(member.name):
                yield member.name, budget.read(stream)
        end = content[archive.offset : archive.offset + tarfile.BLOCKSIZE]
        if end != bytes(tarfile.BLOCKSIZE):  # tarfile reads a damaged header as the end
            raise tarfile.ReadError("no end of the archive")


def files_of(
    archive: tarfile.TarFile, budget: Budget
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the files of an open tar, without links and devices.

    Raises:
        Unsafe: there are too many members, or one leads out of the archive.
    """
    for member in archive:
        budget.take_member(member.name)
        opened = archive.extractfile(member) if member.isfile() else None
        if opened is not None:
            yield member, opened
