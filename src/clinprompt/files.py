"""Write files whole or not at all. Knows nothing of what is in them."""

import glob
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

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            _cut_half_line(path)
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error


def _cut_half_line(path: Path) -> None:
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


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
        with _locked(draft, wait=True):
            yield draft
            _swap(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _locked(draft: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a draft until the block or the process ends; yield whether that could be done.

    Windows and some network file systems have no such locks: there no draft counts as abandoned.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(draft, os.O_RDONLY)
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
            with suppress(OSError), _locked(draft, wait=False) as is_locked:
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
