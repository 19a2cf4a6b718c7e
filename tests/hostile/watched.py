"""Watch one call: what it raises, its time and memory, and the files and hosts that it opens."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinprompt.errors import ClinpromptError

MAX_SECONDS = 2.0  # of computing, so that other work on the machine does not count
MAX_BYTES = 1 << 30
OUTSIDE = "outside-of-the-folder"  # a folder whose files no input may reach
CANARY = "text-of-a-foreign-file"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod"}
_NEVER = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class"}
_HOSTS = {"socket.connect", "socket.getaddrinfo"}


class TooSlow(BaseException):
    """Raised in a call that has computed for too long."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: ``fault`` says what it did wrong, "" if nothing."""

    fault: str
    is_refused: bool
    seconds: float


@dataclass
class _Armed:
    """What the audit hook of the interpreter checks now; ``faults`` is what it found."""

    folder: Path
    may_connect: bool
    faults: list[str]


_armed: _Armed | None = None


def watch(
    call: Callable[[], object],
    folder: Path,
    *,
    secret: str = "",
    may_connect: bool = False,
    seconds: float = MAX_SECONDS,
) -> Outcome:
    """Call something that may only read, and write only below ``folder``.

    ``secret`` stands for the text of a record: no error may show it.
    """
    armed = _Armed(folder.resolve(), may_connect, [])
    begun, error, value = time.process_time(), None, None
    try:
        with _limited(2 * seconds), _audited(armed):
            value = call()
    except ClinpromptError as refusal:
        error = refusal
    except (Exception, TooSlow) as unexpected:
        error = unexpected
        armed.faults.append(f"{_place(unexpected)}: {str(unexpected)[:120]}")
    taken = time.process_time() - begun
    if taken > seconds:
        armed.faults.append(f"computed for {taken:.1f} s")
    if error is not None and secret and secret in str(error):
        armed.faults.append("the error shows text of a record")
    if CANARY in repr(value if error is None else error):
        armed.faults.append("shows the text of a file outside of the folder")
    parts = value if isinstance(value, list) else [error]
    is_refused = any(isinstance(one, ClinpromptError) for one in parts)
    return Outcome("; ".join(armed.faults), is_refused, taken)


def _place(error: BaseException) -> str:
    """Return the kind of an error, and the last line of the package that led to it."""
    found, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if f"{os.sep}clinprompt{os.sep}" in code.co_filename:
            found = f" in {Path(code.co_filename).name}, {code.co_name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{found}"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Stop the block after so much time of computing, and refuse it more memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    most = pages * resource.getpagesize() + MAX_BYTES
    before = signal.signal(signal.SIGPROF, _stop)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def _stop(*_: object) -> None:
    raise TooSlow


@contextmanager
def _audited(armed: _Armed) -> Iterator[None]:
    global _armed  # noqa: PLW0603 - a hook of the interpreter cannot be removed
    _armed = armed
    try:
        yield
    finally:
        _armed = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    armed = _armed
    if armed is None:
        return
    if event == "open":
        _check_open(armed, *arguments)
    elif event in _CHANGES:
        for one in arguments:
            if isinstance(one, str | bytes | os.PathLike):
                _check_place(armed, one, event)
    elif event in _NEVER or (event in _HOSTS and not armed.may_connect):
        armed.faults.append(event)


def _check_open(armed: _Armed, path: object, _: object, flags: int) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return
    if flags & _WRITES:
        _check_place(armed, path, "opened for writing")
    elif OUTSIDE in os.fsdecode(path):
        armed.faults.append("reads a file outside of the folder")


def _check_place(armed: _Armed, path: str | bytes | os.PathLike[str], what: str) -> None:
    real = os.path.realpath(os.fsdecode(path))
    inside = Path(real) == armed.folder or armed.folder in Path(real).parents
    if not inside and real != os.devnull:
        armed.faults.append(f"{what} outside of the folder: {real}")


sys.addaudithook(_hook)
