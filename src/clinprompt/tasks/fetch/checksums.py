"""Compute the checksums that cards give for files. Knows no tasks and no network.

A card gives the sha256 of a file's bytes in hex, or ``content:`` and the sha256 of what the file
contains, which does not depend on how it was packed. For a ``.gz`` these are the unpacked
bytes. For a tar archive they are one line ``SHA256  NAME`` per member, sorted by name,
as in ``sha256sum``.
Members whose name starts with a dot (``.DS_Store``) do not count.
"""

import gzip
import hashlib
import tarfile
from pathlib import Path

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.archives import DAMAGED, Budget, Readable, Unsafe, files_of
from clinprompt.tasks.readers.generic.data_files import is_archive

CONTENT = "content:"


def checksum(path: Path, *, like: str, name: str = "") -> str:
    """Return a file's checksum, of its content if ``like`` is a checksum of content.

    The ending of the file's name says how it is packed; give ``name`` if the file is a draft with
    another name.

    Raises:
        DataError: the file is damaged, so its content cannot be read.
    """
    if not like.startswith(CONTENT):
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        return CONTENT + _content(path, Path(name or path.name))
    except Unsafe as error:
        raise DataError(f"{path}: {error}") from error
    except DAMAGED as error:
        raise DataError(f"{path}: damaged ({error}); fetch it again") from error


def counts_as_member(name: str) -> bool:
    """Return whether a member of an archive counts as its content."""
    return not name.rpartition("/")[2].startswith(".")


def _content(path: Path, name: Path) -> str:
    if is_archive(name) and name.suffix != ".zip":
        return _of_members(path)
    if name.suffix != ".gz":
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    with gzip.open(path) as packed:
        return _digest(packed, Budget(path.stat().st_size))


def _of_members(path: Path) -> str:
    lines = []
    budget = Budget(path.stat().st_size)
    with tarfile.open(path, "r:*") as archive:
        for member, opened in files_of(archive, budget):
            if not counts_as_member(member.name):
                continue
            if "\n" in member.name:
                raise DataError(f"{path}: a member has a line break in its name; fetch it again")
            lines.append((member.name.removeprefix("./"), _digest(opened, budget)))
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(stream: Readable, budget: Budget) -> str:
    """Return the sha256 of all that a stream unpacks to, within the limits of archives."""
    digest = hashlib.sha256()
    for block in budget.blocks(stream):
        digest.update(block)
    return digest.hexdigest()
