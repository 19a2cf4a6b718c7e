"""Get a task's files from its public repository, at the pinned commit. Prints nothing.

A file appears in the task's folder when it is whole and its checksum fits, not before. The folder
then looks like the one in a mirror, so that both are read alike.
"""

import gzip
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from clinprompt.errors import DataError, SettingError
from clinprompt.files import cache_folder
from clinprompt.tasks.card import SPLITS, TaskCard
from clinprompt.tasks.fetch.checksums import CONTENT, checksum, counts_as_member
from clinprompt.tasks.fetch.download import Watcher, download, writing
from clinprompt.tasks.fetch.upstream import GITHUB, Upstream, match_path

BASE_VARIABLE = "CLINPROMPT_FETCH_BASE"
_FILES = "https://raw.githubusercontent.com"
_ARCHIVES = "https://codeload.github.com"


@dataclass(frozen=True, slots=True)
class Route:
    """How files come here: from which two hosts, watched by whom, waiting how."""

    watcher: Watcher
    files: str = _FILES
    archives: str = _ARCHIVES
    sleep: Callable[[float], None] = time.sleep

    def file_url(self, upstream: Upstream, path: str) -> str:
        """Return where one file of a repository is."""
        name = upstream.repository.removeprefix(GITHUB).strip("/")
        return f"{self.files}/{name}/{upstream.commit}/{quote(path)}"

    def archive_url(self, upstream: Upstream) -> str:
        """Return where a whole repository is, as a tar.gz."""
        name = upstream.repository.removeprefix(GITHUB).strip("/")
        return f"{self.archives}/{name}/tar.gz/{upstream.commit}"


def find_route(watcher: Watcher, base: str = "") -> Route:
    """Return the way to GitHub, or to the one server that ``base`` or the environment names.

    Raises:
        SettingError: the server is not named by an http or https address.
    """
    base = (base or os.environ.get(BASE_VARIABLE, "")).rstrip("/")
    if not base:
        return Route(watcher)
    if not base.startswith(("http://", "https://")):
        raise SettingError(f"{BASE_VARIABLE} = {base!r} must start with http:// or https://")
    return Route(watcher, base, base)


def data_cache() -> Path:
    """Return the folder for fetched data; it has one folder a data set, as a mirror has."""
    return cache_folder() / "data"


def is_public(card: TaskCard) -> bool:
    """Tell whether a task's files can be had without asking: they lie on GitHub, at a commit."""
    source = card.source
    return source.repository.startswith(GITHUB) and bool(source.commit) and not source.access


def find_upstream(card: TaskCard, name: str) -> Upstream:
    """Return where a file of the task's folder comes from, repository and commit included.

    What ``fetch`` of the card says goes first; else the one of ``source.paths`` that fits the name.

    Raises:
        DataError: the card does not say, or gives a checksum that only one mirror's copy can have.
    """
    upstream = card.fetch.get(name) or match_path(card.source.paths, name)
    if upstream is None:
        raise DataError(
            f"{card.path}: nothing of source.paths alone fits {name!r}; say in fetch where it is "
            "from, for instance { file = 'folder/name' }"
        )
    if upstream.is_repacked and not card.checksums[name].startswith(CONTENT):
        raise DataError(
            f"{card.path}: {name} is packed here, so its bytes differ from a mirror's; give its "
            f"checksum as '{CONTENT}HEX'"
        )
    if not upstream.repository:
        source = {"repository": card.source.repository, "commit": card.source.commit}
        upstream = upstream.model_copy(update=source)
    return upstream


def lacking_files(card: TaskCard, folder: Path) -> tuple[str, ...]:
    """Return the names of the files that are missing or damaged in the task's folder.

    Raises:
        DataError: the card reads a file for which it has no checksum.
    """
    addresses = [address for split in SPLITS for address in getattr(card.files, split)]
    for address in addresses:
        pattern = address.partition("!")[0]
        if not any(name == pattern or fnmatchcase(name, pattern) for name in card.checksums):
            raise DataError(f"{card.path}: checksums lacks {pattern}, so it cannot be fetched")
    return tuple(name for name in card.checksums if not _is_whole(card, folder, name))


def fetch_files(card: TaskCard, folder: Path, route: Route) -> tuple[str, ...]:
    """Fetch what a task's folder lacks, and return the names of those files.

    Raises:
        DataError: a file cannot be had, or is not the one that the card names; then it is removed.
        RunError: the network is down or the disk is full; what has come is kept.
    """
    wanted = {name: find_upstream(card, name) for name in lacking_files(card, folder)}
    for name, upstream in wanted.items():
        if not upstream.pack:
            _fetch_file(folder / name, card.checksums[name], upstream, route)
    packed = {name: upstream for name, upstream in wanted.items() if upstream.pack}
    for url in dict.fromkeys(map(route.archive_url, packed.values())):
        names = [name for name, upstream in packed.items() if route.archive_url(upstream) == url]
        archive = _part(folder / "archive", url)
        what = f"archive of {url.removeprefix(route.archives).split('/')[2]}"
        download(url, archive, what=what, watcher=route.watcher, sleep=route.sleep)
        try:
            for name in names:
                draft = _draft(folder / name)
                with writing(draft):
                    pack_folders(archive, draft, packed[name])
                _settle(draft, folder / name, card.checksums[name], url)
        finally:
            archive.unlink(missing_ok=True)
    return tuple(wanted)


def pack_folders(archive: Path, packed: Path, upstream: Upstream) -> None:
    """Pack parts of a repository's archive as a ``.tar.gz`` with the same bytes every time.

    Raises:
        DataError: the archive is damaged or lacks one of the parts.
        OSError: the file cannot be written.
    """
    try:
        members = sorted(_members(archive, upstream))
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(
            f"{archive}: a damaged archive came ({error}); it was removed, run the command again"
        ) from error
    for path in upstream.pack:
        if not any(_is_in(source, path) for source, _ in members):
            raise DataError(
                f"{upstream.repository}: no {path!r} at {upstream.commit}; mend fetch in the card"
            )
    with _steady_gzip(packed) as stream, tarfile.open(fileobj=stream, mode="w") as made:
        for source, content in members:
            member = tarfile.TarInfo(source.removeprefix(f"{upstream.below}/"))
            member.size = len(content)
            made.addfile(member, BytesIO(content))


def _members(archive: Path, upstream: Upstream) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the wanted files; all stand in one folder NAME-COMMIT."""
    with tarfile.open(archive, "r:*") as opened:
        for member in opened:
            path = member.name.partition("/")[2]
            wanted = counts_as_member(path) and any(_is_in(path, part) for part in upstream.pack)
            content = opened.extractfile(member) if wanted and member.isfile() else None
            if content is not None:
                yield path, content.read()


def _is_in(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part.rstrip('/')}/")


def _fetch_file(path: Path, expected: str, upstream: Upstream, route: Route) -> None:
    url = route.file_url(upstream, upstream.file or upstream.gzip)
    part = _part(path, url)
    download(url, part, what=path.name, watcher=route.watcher, sleep=route.sleep)
    if upstream.gzip:
        draft = _draft(path)
        with writing(draft), part.open("rb") as source, _steady_gzip(draft) as stream:
            shutil.copyfileobj(source, stream)
        part.unlink()
        part = draft
    _settle(part, path, expected, url)


def _settle(draft: Path, path: Path, expected: str, url: str) -> None:
    """Give a file its name, if it is the one that the card means; else remove it."""
    try:
        found = checksum(draft, like=expected, name=path.name)
    except DataError:
        draft.unlink()
        raise
    if found != expected:
        draft.unlink()
        raise DataError(
            f"{path}: what came from {url} has the sha256 {found}, but the card has {expected}; it "
            "was removed. Run the command again; if it stays so, mend the card's path or commit"
        )
    with writing(path):
        draft.replace(path)


def _is_whole(card: TaskCard, folder: Path, name: str) -> bool:
    path, expected = folder / name, card.checksums[name]
    try:
        return path.is_file() and checksum(path, like=expected) == expected
    except DataError:
        return False


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def _part(path: Path, url: str) -> Path:
    """Return where a download grows: another place for another address, so no two are mixed."""
    return path.with_name(f".{path.name}.{sha256(url.encode()).hexdigest()[:12]}.part")


@contextmanager
def _steady_gzip(path: Path) -> Iterator[BinaryIO]:
    """Open a gzip file to write whose bytes tell neither time nor name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
        yield cast("BinaryIO", packed)
