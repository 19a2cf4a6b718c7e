"""Download one file over HTTP, going on where an earlier attempt stopped. Knows no tasks."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from socket import gaierror
from typing import Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from clinprompt import __version__
from clinprompt.errors import DataError, RunError

WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0)  # before the second, third ... attempt
_TIMEOUT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 60.0
_BLOCK_BYTES = 1 << 16
_RANGE_UNFIT = 416
_WORTH_ANOTHER = {408, 429, _RANGE_UNFIT}


class Watcher(Protocol):
    """What is told of a download while it runs."""

    def begin(self, what: str, *, total: int | None, done: int) -> None:
        """Start on a file of ``total`` bytes, ``done`` of which are here; None is not known."""

    def advance(self, num_bytes: int) -> None:
        """Count bytes that came."""

    def say(self, message: str) -> None:
        """Tell something worth a line."""


def download(
    url: str, part: Path, *, what: str, watcher: Watcher, sleep: Callable[[float], None]
) -> None:
    """Bring ``what`` is at ``url`` into the file ``part``; what an earlier attempt left is kept.

    A cut connection and an overloaded server are tried again after a wait; a server that cannot
    start in the middle sends the whole file once more. Where there is no way to a server at all,
    it is not tried again.

    Raises:
        DataError: the server does not have the file, or does not hand it out.
        RunError: the server cannot be reached, or the file cannot be written.
    """
    for wait in (*WAITS_SECONDS, None):
        try:
            _attempt(url, part, what, watcher)
        except HTTPError as error:
            _leave_if_refused(url, part, error)
            if wait is None:
                raise DataError(f"{url}: HTTP {error.code} every time; try again later") from error
            sleep(_asked_wait(error, wait))
        except (HTTPException, ConnectionError, TimeoutError, URLError, ssl.SSLError) as error:
            if wait is None or _is_untrusted(error) or _is_closed(error):
                raise _unreachable(url, error) from error
            sleep(wait)
        else:
            return


def _attempt(url: str, part: Path, what: str, watcher: Watcher) -> None:
    done = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": f"clinprompt/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:
        done = done if _starts_at(answer, done) else 0
        length = answer.headers["Content-Length"]
        coming = int(length) if length and length.isdecimal() else None
        watcher.begin(what, total=None if coming is None else done + coming, done=done)
        _keep(answer, part, watcher, is_more=done > 0)
    if coming is not None and part.stat().st_size < done + coming:
        raise IncompleteRead(b"", done + coming - part.stat().st_size)


def _starts_at(answer: HTTPResponse, done: int) -> bool:
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
        f"bytes {done}-"
    )


def _keep(answer: HTTPResponse, part: Path, watcher: Watcher, *, is_more: bool) -> None:
    with writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        stream = part.open("ab" if is_more else "wb", buffering=0)
    with stream:
        while block := answer.read(_BLOCK_BYTES):
            with writing(part):
                stream.write(block)
            watcher.advance(len(block))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being written into an error that says what to do.

    Raises:
        RunError: the block could not write.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); free some space or choose "
            "another folder, then run the same command again"
        ) from error


def _leave_if_refused(url: str, part: Path, error: HTTPError) -> None:
    """Raise what another attempt would not change; forget a part that the server cannot go on."""
    if error.code == _RANGE_UNFIT:
        part.unlink(missing_ok=True)
    if error.code < 500 and error.code not in _WORTH_ANOTHER:
        raise DataError(
            f"{url}: HTTP {error.code} ({error.reason}); the repository was renamed or removed, or "
            "the card's path or commit is wrong: mend the card, or take the files from a mirror "
            "(--mirror DIR)"
        ) from error


def _asked_wait(error: HTTPError, wait: float) -> float:
    asked = error.headers.get("Retry-After", "")
    return max(wait, min(float(asked), _LONGEST_WAIT_SECONDS)) if asked.isdecimal() else wait


def _is_untrusted(error: Exception) -> bool:
    reason = error.reason if isinstance(error, URLError) else error
    return isinstance(reason, ssl.SSLCertVerificationError)


def _is_closed(error: Exception) -> bool:
    """Tell whether the server's name is not known, or no connection to it can be made."""
    reason = error.reason if isinstance(error, URLError) else None
    is_plain = type(reason) is OSError  # no route, or a proxy that refuses
    return is_plain or isinstance(reason, gaierror | ConnectionRefusedError | TimeoutError)


def _unreachable(url: str, error: Exception) -> RunError:
    reason = error.reason if isinstance(error, URLError) else error
    if _is_closed(error) and not _is_untrusted(error):
        return RunError(
            f"{urlsplit(url).netloc}: cannot be reached ({reason}); check the network and "
            "https_proxy, or fetch with --to DIR on a machine that has a network, bring DIR here "
            "and name it by --mirror DIR"
        )
    if _is_untrusted(error):
        remedy = "set SSL_CERT_FILE to your network's certificates"
    else:
        remedy = "check the network and https_proxy; what has come is kept for the next time"
    return RunError(f"{urlsplit(url).netloc}: no whole answer ({reason}); {remedy}")
