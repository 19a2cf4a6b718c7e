"""Let one operation on the disk fail: the n-th one of this process below a folder.

Counted are all operations that change a disk or wait for it: open to write, write, fsync, truncate,
reserve, rename, exchange, remove, make a folder. Knows nothing of what is written.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from clinprompt import files

Fault = Literal["kill", "full", "broken"]
FAULTS: Sequence[Fault] = get_args(Fault)
_ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO}
_FREES = frozenset({"unlink", "remove", "rmdir", "truncate", "ftruncate"})  # work on a full disk
_CREATES = os.O_CREAT | os.O_TRUNC


class Disk:
    """Counts the operations below a folder; the one with number ``at`` ends in a fault.

    ``kill`` ends the process as a power cut would, in the middle of a write. ``full``: there is no
    space from then on, until ``mend``. ``broken``: this one operation fails. With ``at`` 0 nothing
    fails. ``exchanges`` says whether two folders can be exchanged in one step.
    """

    installed: "Disk | None" = None

    def __init__(
        self, folder: Path, fault: Fault = "kill", at: int = 0, *, exchanges: bool = True
    ) -> None:
        self._folder, self._fault, self._at = str(folder.resolve()), fault, at
        self._exchanges = exchanges
        self.count = 0
        self.names: list[str] = []

    @property
    def has_failed(self) -> bool:
        """Return whether the fault has happened."""
        return 0 < self._at <= self.count

    def mend(self) -> None:
        """Let nothing fail from now on."""
        self._at = 0

    def install(self) -> None:
        """Count the operations of this process from now on; there is no way back."""
        Disk.installed = self
        for name in ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "truncate"):
            self._wrap(name)
        for name in ("fsync", "ftruncate", "posix_fallocate"):
            self._wrap(name)
        self._wrap_open()
        self._wrap_exchange()
        builtins.open = io.open = self._opened  # type: ignore[assignment]

    def operation(self, name: str, path: str, begin: Callable[[], object] | None = None) -> None:
        """Count an operation on a path; ``begin`` does the first half of it."""
        if not self.watches(path):
            return
        self.count += 1
        self.names.append(f"{name} {path.removeprefix(self._folder)}")
        if self.count == self._at:
            if begin and self._fault != "broken":
                begin()
            if self._fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self._fail(path)
        if self.has_failed and self._fault == "full" and name not in _FREES:
            self._fail(path)

    def watches(self, path: str) -> bool:
        """Return whether a path is below the folder, or is the folder."""
        return f"{path}/".startswith(f"{self._folder}/")

    def _fail(self, path: str) -> NoReturn:
        code = _ERRORS[self._fault]
        raise OSError(code, os.strerror(code), path)

    def _wrap(self, name: str) -> None:
        own = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            self.operation(name, _place(given[0], named.get("dir_fd")))
            return own(*given, **named)

        setattr(os, name, call)

    def _wrap_open(self) -> None:
        own = os.open

        def call(path: Any, flags: int, *given: Any, **named: Any) -> int:
            if flags & _CREATES:
                self.operation("create", _place(path, named.get("dir_fd")))
            return own(path, flags, *given, **named)

        os.open = call

    def _wrap_exchange(self) -> None:
        own = files._exchange

        def call(one: Path, other: Path) -> bool:
            if not self._exchanges:
                return False
            self.operation("exchange", _place(other))
            return own(one, other)

        files._exchange = call

    def _opened(self, file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        is_path = not isinstance(file, int)
        if not (is_path and set(mode) & set("wax+") and self.watches(_place(file))):
            return _OPEN(file, mode, *given, **named)
        return _made(self, file, mode, *given, **named)


_OPEN = io.open


def _place(path: Any, folder: int | None = None) -> str:
    """Return a whole path, of an open file too."""
    if isinstance(path, int):
        return str(Path(f"/proc/self/fd/{path}").readlink())
    if folder is not None:
        return str(Path(f"/proc/self/fd/{folder}").readlink() / path)
    return os.path.abspath(os.fspath(path))  # noqa: PTH100 - of bytes or a name, as os takes it


class _File(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, disk: Disk, path: Any, mode: str) -> None:
        self._disk, self._path = disk, _place(path)
        disk.operation("open", self._path)
        super().__init__(path, mode)

    def write(self, content: Any, /) -> int:
        whole = bytes(content)
        write = super().write
        half = whole[: len(whole) // 2]
        self._disk.operation("write", self._path, lambda: write(half))
        return write(whole)

    def truncate(self, size: int | None = None, /) -> int:
        self._disk.operation("truncate", self._path)
        return super().truncate(size)


def _made(
    disk: Disk,
    path: Any,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """Open a file to be written as ``open`` does, with counted writes."""
    raw = _File(disk, path, mode.replace("b", "").replace("t", ""))
    if buffering == 0:
        return raw
    buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)
