"""Fetch a task's files from its public repository at the pinned commit. Prints nothing.

A file appears in the task's folder only when it is complete and its checksum matches. The folder
has the same layout as in a mirror, so both are read in the same way.
"""

import gzip
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from clinprompt.errors import DataError, SettingError
from clinprompt.files import cache_folder, writing
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.fetch.checksums import CONTENT, checksum, counts_as_member
from clinprompt.tasks.fetch.download import Progress, download
from clinprompt.tasks.fetch.upstream import GITHUB, Upstream, match_path
from clinprompt.tasks.readers.generic.archives import DAMAGED, Budget, Unsafe, files_of

BASE_VARIABLE = "CLINPROMPT_FETCH_BASE"
_FILES = "https://raw.githubusercontent.com"
_ARCHIVES = "https://codeload.github.com"


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """The two hosts that files are downloaded from, the progress display and the wait function."""

    progress: Progress
    files: str = _FILES
    archives: str = _ARCHIVES
    sleep: Callable[[float], None] = time.sleep

    def file_url(self, upstream: Upstream, path: str) -> str:
        """Return the address of one file of a repository."""
        name = upstream.repository.removeprefix(GITHUB).strip("/")
        return f"{self.files}/{name}/{upstream.commit}/{quote(path)}"

    def archive_url(self, upstream: Upstream) -> str:
        """Return the address of a whole repository as a tar.gz."""
        name = upstream.repository.removeprefix(GITHUB).strip("/")
        return f"{self.archives}/{name}/tar.gz/{upstream.commit}"


def choose_source(progress: Progress) -> DownloadSource:
    """Return GitHub as the source, or the server that the environment names.

    Raises:
        SettingError: the server's address does not start with http or https.
    """
    base = os.environ.get(BASE_VARIABLE, "").rstrip("/")
    if not base:
        return DownloadSource(progress)
    if not base.startswith(("http://", "https://")):
        raise SettingError(f"{BASE_VARIABLE} = {base!r} must start with http:// or https://")
    return DownloadSource(progress, base, base)


def data_cache() -> Path:
    """Return the folder for fetched data, with one folder per data set as in a mirror."""
    return cache_folder() / "data"


def is_public(card: TaskCard) -> bool:
    """Return whether a task's files can be downloaded by anyone from GitHub, at a fixed commit."""
    source = card.source
    return source.repository.startswith(GITHUB) and bool(source.commit) and not source.access


def find_upstream(card: TaskCard, name: str) -> Upstream:
    """Return where a file of the task's folder comes from, with repository and commit.

    An entry in ``fetch`` of the card comes first, then the path in ``source.paths`` that ends with
    the name.

    Raises:
        DataError: the card does not say where the file is from, or gives a checksum of bytes for a
            file that is packed after the download.
    """
    upstream = card.fetch.get(name) or match_path(card.source.paths, name)
    if upstream is None:
        raise DataError(
            f"{card.path}: not exactly one of source.paths ends with {name!r}; give its path in "
            "fetch, for instance { file = 'folder/name' }"
        )
    if upstream.is_repacked and not card.checksums[name].startswith(CONTENT):
        raise DataError(
            f"{card.path}: {name} is packed after the download, so its bytes may differ from a "
            f"mirror's; give its checksum as '{CONTENT}HEX'"
        )
    if not upstream.repository:
        source = {"repository": card.source.repository, "commit": card.source.commit}
        upstream = upstream.model_copy(update=source)
    return upstream


def missing_files(card: TaskCard, folder: Path) -> tuple[str, ...]:
    """Return the names of the files that are missing or damaged in the task's folder.

    Raises:
        DataError: the card reads a file that has no checksum.
    """
    addresses = [address for split in SPLITS for address in getattr(card.files, split)]
    for address in addresses:
        pattern = address.partition("!")[0]
        if not any(name == pattern or fnmatchcase(name, pattern) for name in card.checksums):
            raise DataError(
                f"{card.path}: {pattern} has no checksum, so it cannot be fetched; add it to "
                "checksums"
            )
    return tuple(name for name in card.checksums if not _is_complete(card, folder, name))


def fetch_files(card: TaskCard, folder: Path, source: DownloadSource) -> tuple[str, ...]:
    """Fetch the missing files of a task's folder and return their names.

    Raises:
        DataError: a file cannot be downloaded, or is not the one that the card names; then it is
            removed.
        RunError: the network is down or the disk is full; incomplete downloads are kept.
    """
    missing = {name: find_upstream(card, name) for name in missing_files(card, folder)}
    by_archive: dict[str, list[str]] = {}
    for name, upstream in missing.items():
        if upstream.pack:
            by_archive.setdefault(source.archive_url(upstream), []).append(name)
        else:
            _fetch_file(folder / name, card.checksums[name], upstream, source)
    for url, names in by_archive.items():
        archive = _part(folder / "archive", url)
        what = f"archive of {url.removeprefix(source.archives).split('/')[2]}"
        download(url, archive, what=what, progress=source.progress, sleep=source.sleep)
        try:
            for name in names:
                draft = _draft(folder / name)
                with writing(draft):
                    _pack_folders(archive, draft, missing[name])
                _verify_and_rename(draft, folder / name, card.checksums[name], url)
        finally:
            with writing(archive):
                archive.unlink(missing_ok=True)
    return tuple(missing)


def _pack_folders(archive: Path, packed: Path, upstream: Upstream) -> None:
    """Pack parts of a repository's archive as a ``.tar.gz`` with the same bytes every time.

    Raises:
        DataError: the archive is damaged or does not have one of the parts.
        OSError: the file cannot be written.
    """
    try:
        members = sorted(_members(archive, upstream))
    except (Unsafe, *DAMAGED) as error:
        raise DataError(
            f"{archive}: the downloaded archive is damaged ({error}) and was removed; run the "
            "command again"
        ) from error
    for path in upstream.pack:
        if not any(_is_in(source, path) for source, _ in members):
            raise DataError(
                f"{upstream.repository}: no {path!r} at {upstream.commit}; correct fetch in the "
                "card"
            )
    with _reproducible_gzip(packed) as stream, tarfile.open(fileobj=stream, mode="w") as made:
        for source, content in members:
            member = tarfile.TarInfo(source.removeprefix(f"{upstream.below}/"))
            member.size = len(content)
            made.addfile(member, BytesIO(content))


def _members(archive: Path, upstream: Upstream) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the files to pack; the archive has one folder, NAME-COMMIT."""
    budget = Budget(archive.stat().st_size)
    with tarfile.open(archive, "r:*") as opened:
        for member, content in files_of(opened, budget):
            path = member.name.partition("/")[2]
            if counts_as_member(path) and any(_is_in(path, part) for part in upstream.pack):
                yield path, budget.read(content)


def _is_in(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part.rstrip('/')}/")


def _fetch_file(path: Path, expected: str, upstream: Upstream, source: DownloadSource) -> None:
    url = source.file_url(upstream, upstream.file or upstream.gzip)
    part = _part(path, url)
    download(url, part, what=path.name, progress=source.progress, sleep=source.sleep)
    if upstream.gzip:
        draft = _draft(path)
        with writing(draft), part.open("rb") as plain, _reproducible_gzip(draft) as stream:
            shutil.copyfileobj(plain, stream)
        with writing(part):
            part.unlink()
        part = draft
    _verify_and_rename(part, path, expected, url)


def _verify_and_rename(draft: Path, path: Path, expected: str, url: str) -> None:
    """Rename a draft to ``path`` if its checksum is the expected one; otherwise remove it."""
    try:
        found = checksum(draft, like=expected, name=path.name)
    except DataError:
        with suppress(OSError):
            draft.unlink()
        raise
    if found != expected:
        with suppress(OSError):
            draft.unlink()
        raise DataError(
            f"{path}: the file from {url} has sha256 {found}, but the card has {expected}; it was "
            "removed. Run the command again; if that does not help, correct the card's path or "
            "commit"
        )
    with writing(path):
        draft.replace(path)


def _is_complete(card: TaskCard, folder: Path, name: str) -> bool:
    path, expected = folder / name, card.checksums[name]
    try:
        return path.is_file() and checksum(path, like=expected) == expected
    except DataError:
        return False


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def _part(path: Path, url: str) -> Path:
    """Return the path of an incomplete download; each address has its own, so none are mixed."""
    return path.with_name(f".{path.name}.{sha256(url.encode()).hexdigest()[:12]}.part")


@contextmanager
def _reproducible_gzip(path: Path) -> Iterator[BinaryIO]:
    """Open a gzip file for writing that stores neither time nor name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
        yield cast("BinaryIO", packed)
