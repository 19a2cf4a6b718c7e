"""Write files and folders completely or not at all, and lock work that processes share.

Knows nothing about what the files contain.
"""

import ctypes
import errno
import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol

from filelock import FileLock, Timeout

from clinprompt.errors import RunError

_DRAFT = ".draft"  # a folder; it holds the new content and, for a moment, the old one
_CONTENT, _OLD = "content", "old"
_NO_PLACE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


def cache_folder() -> Path:
    """Return the folder for files that can be computed or downloaded again."""
    return Path(os.environ.get("CLINPROMPT_CACHE") or Path.home() / ".cache" / "clinprompt")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an error with a remedy if the block cannot write ``path``.

    Raises:
        RunError: the block could not write.
    """
    try:
        yield
    except OSError as error:
        remedy = "free some space or choose another folder, then run the same command again"
        if error.errno in _NO_PLACE:
            remedy = "choose another name"
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); {remedy}"
        ) from error


class NotRemovedError(RunError):
    """Signal that something could not be removed completely."""


@contextmanager
def removing(what: str, *, then: str) -> Iterator[None]:
    """Raise an error with a remedy if the block cannot remove ``what``, or files that name it.

    ``then`` is what to do once the cause is gone.

    Raises:
        NotRemovedError: the block could not remove or write a file.
    """
    try:
        yield
    except (OSError, RunError) as error:
        fault = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(fault, OSError):
            raise
        place = f": {fault.filename}" if fault.filename else ""
        raise NotRemovedError(
            f"{what}: could not be removed completely ({fault.strerror or fault}{place}); make "
            f"sure that files there may be changed and that no other program uses them, then {then}"
        ) from error


def remove_folder(path: Path, *, then: str) -> None:
    """Remove a folder with all that is in it; a missing one is removed already.

    Raises:
        NotRemovedError: a file cannot be removed; see ``removing``.
    """
    with removing(str(path), then=then):
        if path.exists():
            shutil.rmtree(path)


def write_bytes(
    path: Path, content: bytes, *, is_private: bool = False, before: Path | None = None
) -> None:
    """Write a file completely or not at all; an earlier file is kept until then.

    Only its owner may read a file that ``is_private``. If ``before`` is given, the earlier file is
    renamed to it. A process that is killed between the two renames leaves ``before`` alone.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with writing(path):
            _make_folder(path.parent)
            if is_private:
                _make_private(draft)
            with draft.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if before is not None and path.exists():
                path.replace(before)
            draft.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder with those above it, and wait until their names are on the disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync_folder(one.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    An error is ignored: the files are on the disk by then and have their names, and not every
    system can do this.
    """
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _make_private(path: Path) -> None:
    """Make an empty file that only its owner may read, if there is no file yet."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def write_text(path: Path, content: str, *, is_private: bool = False) -> None:
    """Write UTF-8 text completely or not at all; see ``write_bytes``."""
    write_bytes(path, content.encode(), is_private=is_private)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the place of a draft that becomes ``path`` if the block succeeds.

    It is for files that are too large for ``write_bytes``. Only one process may write the same file
    at a time. If the process is killed, the draft stays and the next call replaces it.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            _make_folder(path.parent)
            yield draft
            _sync_file(draft)
            draft.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def append_line(path: Path, line: str, *, is_private: bool = False) -> None:
    """Append one line and wait until it is on the disk.

    An incomplete last line, which a killed process may leave, is removed first. A line that cannot
    be written is removed again. Several processes may append to one file. Only its owner may read a
    new file that ``is_private``.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    with writing(path):
        _make_folder(path.parent)
        lock = path.with_name(f".{path.name}.lock")
        if is_private:
            _make_private(lock)
        with locked(lock, wait=True):
            is_new = not path.exists()
            if is_private:
                _make_private(path)
            with path.open("ab", buffering=0) as stream:
                _remove_incomplete_line(path)
                _append(stream, line.encode() + b"\n")
            if is_new:
                _sync_folder(path.parent)


class _Appended(Protocol):
    """A file that is open to be appended to, without a buffer."""

    def write(self, content: memoryview, /) -> int: ...

    def fileno(self) -> int: ...


def _append(stream: _Appended, content: bytes) -> None:
    size = os.fstat(stream.fileno()).st_size
    left = memoryview(content)
    try:
        while left:
            left = left[stream.write(left) :]
        os.fsync(stream.fileno())
    except OSError:
        with suppress(OSError):
            os.ftruncate(stream.fileno(), size)
        raise


def complete_lines(path: Path) -> tuple[list[bytes], bytes]:
    """Return the complete lines of a file, and the incomplete last one ("": there is none).

    A process that is killed while it appends may leave an incomplete line, which does not count. A
    missing file has no lines.
    """
    if not path.is_file():
        return [], b""
    *lines, rest = path.read_bytes().split(b"\n")
    return lines, rest


def _remove_incomplete_line(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 1))
        if stream.read(1) in (b"", b"\n"):
            return
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def locked(lock_file: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a lock file until the block or the process ends; yield whether we hold it.

    Without ``wait``, a lock that another process holds yields False. The lock file is created if
    it is missing, and stays: what counts is the lock, not the file.

    Raises:
        RunError: the lock file cannot be written.
    """
    lock = FileLock(lock_file, blocking=wait)
    with writing(lock_file), suppress(Timeout):
        _make_folder(lock_file.parent)
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()


class Claims:
    """Claims on pieces of work that several processes share, each under its name.

    A claim is the lock of one file in a folder, so it ends with the process that holds it, even if
    that process is killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Yield whether this process has the piece of work until the block ends.

        Raises:
            RunError: the lock file cannot be written.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        with locked(self._folder / f"{digest}.lock", wait=wait) as is_ours:
            yield is_ours


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` if the block succeeds and is removed if not.

    Only then is an earlier folder at ``path`` replaced. Drafts of ``path`` that a killed process
    left behind are removed first.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    draft: Path | None = None
    try:
        with writing(path):
            _make_folder(path.parent)
            _remove_abandoned(path)
            draft = Path(mkdtemp(prefix=f".{path.name}.", suffix=_DRAFT, dir=path.parent))
            with locked(draft / "lock", wait=True):
                content = draft / _CONTENT
                content.mkdir()
                content.chmod(0o755)
                yield content
                _sync_tree(content)
                _swap(draft, path)
                _sync_folder(path.parent)
    finally:
        if draft is not None and (path.exists() or not (draft / _OLD).exists()):
            shutil.rmtree(draft, ignore_errors=True)


def find_folder(path: Path) -> Path:
    """Return ``path``; first complete its replacement if a process was killed in the middle of it.

    This matters only where folders cannot be exchanged in one step: there, the name may be empty.
    """
    if not path.exists():
        _remove_abandoned(path)
    return path


def _remove_abandoned(path: Path) -> None:
    """Remove unlocked drafts of ``path``; one that is still empty may be locked in a moment.

    If a draft holds the earlier folder, and there is none at ``path``, its process was killed
    between two renames. Then the draft is complete and becomes ``path``.
    """
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*{_DRAFT}"):
        content, old = draft / _CONTENT, draft / _OLD
        if not (content.is_dir() or old.is_dir()):
            continue
        with suppress(OSError, RunError), locked(draft / "lock", wait=False) as is_ours:
            if is_ours:
                if old.is_dir() and not path.exists():
                    (content if content.is_dir() else old).rename(path)
                    _sync_folder(path.parent)
                shutil.rmtree(draft)


def _swap(draft: Path, path: Path) -> None:
    """Put the content of a draft in the place of ``path``, and what was there into the draft."""
    content, old = draft / _CONTENT, draft / _OLD
    if not path.exists():
        content.rename(path)
    elif not _exchange(content, path):
        path.rename(old)
        try:
            content.rename(path)
        except BaseException:
            old.rename(path)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return False if the system cannot do that."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    rename = getattr(library, "renameat2", None)
    places = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return rename is not None and rename(*places, _RENAME_EXCHANGE) == 0


def _sync_tree(folder: Path) -> None:
    """Wait until a folder is on the disk with everything in it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_folder(path)
        else:
            _sync_file(path)
    _sync_folder(folder)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
