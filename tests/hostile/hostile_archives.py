"""Make archives that no one should unpack, from a seed: bombs, links, foreign places, damage."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence

from mutations import mutate
from packing import gzipped, workbook, zipped
from watched import OUTSIDE

ARCHIVES = ("zip", "tar", "tar.gz", "txt.gz", "xlsx")
_FILES = {"a.txt": b"One note.\n", "in/b.txt": b"Another.\n", "c.txt.gz": gzipped(b"Packed.\n")}
_NAMES = (
    f"../{OUTSIDE}/a.csv",
    "/etc/hostname",
    "a/../../b.txt",
    "..",
    "a\\..\\b.txt",
    "C:\\b.txt",
    "",
    ".",
    "a" * 300 + ".txt",
    "a\0b.txt",
    "a\nb.txt",
    "\udc80.txt",
    "in/",
    "in/../a.txt",
)
_LARGE = 2 << 20  # bytes of a member, written once: 2 kB when packed


def make_archive(draw: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    """Return an archive after the ending of its name and a line end."""
    ending = draw.choice(ARCHIVES)
    content = _MAKERS[ending](draw)
    if draw.random() < 0.7:
        content = mutate(draw, content)
    return f"{ending}\n".encode() + content


def _files(draw: random.Random) -> dict[str, bytes]:
    files = dict(_FILES)
    if draw.random() < 0.5:
        files[draw.choice(_NAMES)] = b"More.\n"
    if draw.random() < 0.2:
        files["large.txt"] = bytes(_LARGE)
    if draw.random() < 0.05:
        files |= {f"{number}.txt": b"" for number in range(3000)}
    return files


def _zip(draw: random.Random) -> bytes:
    files = {name: content for name, content in _files(draw).items() if "\0" not in name}
    content = zipped({name.replace("\udc80", "x"): one for name, one in files.items()})
    if draw.random() < 0.3:
        content = _sizes_changed(draw, content)
    return content


def _sizes_changed(draw: random.Random, content: bytes) -> bytes:
    """Let the directory of a zip state other sizes, offsets, methods or flags."""
    places = [at for at in range(len(content) - 46) if content[at : at + 4] == b"PK\x01\x02"]
    at = draw.choice(places) + draw.choice((8, 10, 16, 20, 24, 42))
    odd = draw.choice((0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 12, 99))
    return content[:at] + struct.pack("<I", odd) + content[at + 4 :]


def _tar(draw: random.Random) -> bytes:
    stream = io.BytesIO()
    form = draw.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in _files(draw).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            try:
                archive.addfile(member, io.BytesIO(content))
            except ValueError:
                continue  # this form has no such name
        for _ in range(draw.choice((0, 0, 1, 3))):
            archive.addfile(_special(draw))
    return stream.getvalue()


def _special(draw: random.Random) -> tarfile.TarInfo:
    """Return a member that is no file: a link to a foreign place or to itself, a device, a pipe."""
    member = tarfile.TarInfo(draw.choice(("link.txt", "a.txt", "in")))
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    member.type = draw.choice(kinds)
    member.linkname = draw.choice((f"../{OUTSIDE}/a.csv", "/etc/hostname", "link.txt", "a.txt", ""))
    return member


def _gzip(draw: random.Random) -> bytes:
    if draw.random() < 0.1:  # many gzips in a row are one text
        return gzipped(b"note\n") * draw.choice((2, 500))
    return gzip.compress(draw.choice((b"A note.\n", bytes(_LARGE))), mtime=0)


def _workbook(draw: random.Random) -> bytes:
    content = workbook(("Q", "S"), ("one", 1), ("other", 2))
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    name = draw.choice(sorted(parts))
    return zipped({**parts, name: mutate(draw, parts[name])})


_MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "zip": _zip,
    "tar": _tar,
    "tar.gz": lambda draw: gzipped(_tar(draw)),
    "txt.gz": _gzip,
    "xlsx": _workbook,
}
