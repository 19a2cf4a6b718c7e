"""Write files whole or not at all. Knows nothing of what is in them."""

import glob
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from clinprompt.errors import RunError

if sys.platform != "win32":
    import fcntl

_DRAFT = ".draft"


def cache_folder() -> Path:
    """Return the folder for what can be made or fetched again."""
    return Path(os.environ.get("CLINPROMPT_CACHE") or Path.home() / ".cache" / "clinprompt")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; an earlier file stays until then.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as ``write_bytes`` writes bytes."""
    write_bytes(path, content.encode())


def append_line(path: Path, line: str) -> None:
    """Append one line and wait until it is on the disk; a half-written last line is cut first.

    Several processes may append to one file.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream, _one_at_a_time(stream.fileno()):
            _cut_half_line(path)
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def _cut_half_line(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 1))
        if stream.read(1) in (b"", b"\n"):
            return
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def _one_at_a_time(descriptor: int) -> Iterator[None]:
    """Keep other processes out of an open file, where the system can."""
    if sys.platform == "win32":
        yield
        return
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


class Claims:
    """Claims on pieces of work that several processes share by a folder, each by its name.

    A claim is a lock on one byte of one file: it ends with the process that holds it, however that
    ends, and holds over network file systems that pass POSIX locks on (NFS 4 does). Where there
    are no such locks, every claim is granted: run one process there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Yield whether the piece of that name is ours until the block ends.

        Raises:
            RunError: the file of claims cannot be written.
        """
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        is_ours = self._lock(place, wait=wait)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._unlock(place)

    def _lock(self, place: int, *, wait: bool) -> bool:
        if sys.platform == "win32":
            return True
        try:
            if self._descriptor is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            fcntl.lockf(self._descriptor, how, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # no locks on this file system
            return True
        return True

    def _unlock(self, place: int) -> None:
        if sys.platform != "win32" and self._descriptor is not None:
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """End all claims of this process."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a draft folder that becomes ``path`` when the block ends well, and vanishes if not.

    An earlier folder at ``path`` is replaced only then. Drafts for ``path`` that a killed process
    left behind are removed first.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        draft = Path(mkdtemp(prefix=f".{path.name}.", suffix=_DRAFT, dir=path.parent))
        draft.chmod(0o755)
        with locked(draft, wait=True):
            yield draft
            _swap(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a folder until the block or the process ends; yield whether that could be done.

    Windows and some network file systems have no such locks: there no draft counts as abandoned.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        is_locked = True
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove drafts for ``path`` that nobody locks; an empty one may be about to be locked."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*{_DRAFT}"):
        if draft.is_dir():
            with suppress(OSError), locked(draft, wait=False) as is_locked:
                if is_locked and any(draft.iterdir()):
                    shutil.rmtree(draft)


def _swap(draft: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old.{os.getpid()}")
    try:
        if path.exists():
            path.rename(old)
        draft.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path}: could not be written ({error.strerror or error}); "
        "free some space or choose another place, then run the same command again"
    )
