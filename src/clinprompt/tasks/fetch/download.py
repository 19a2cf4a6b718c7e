"""Download one file over HTTP and resume earlier attempts. Knows nothing of tasks."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx2

from clinprompt.errors import DataError, RunError, SettingError
from clinprompt.files import writing
from clinprompt.version import __version__

WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0)  # before the second, third ... attempt
_TIMEOUT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 60.0
_RANGE_NOT_SATISFIABLE = 416
_RETRIED_STATUS = {408, 429, _RANGE_NOT_SATISFIABLE}
_HEADERS = {"User-Agent": f"clinprompt/{__version__}", "Accept-Encoding": "identity"}


class Progress(Protocol):
    """What shows a download while it runs."""

    def begin(self, what: str, *, total: int | None, done: int) -> None:
        """Start a file of ``total`` bytes (None: unknown) of which ``done`` are already here."""

    def advance(self, num_bytes: int) -> None:
        """Count bytes that arrived."""

    def say(self, message: str) -> None:
        """Show one line of text."""


def download(
    url: str, part: Path, *, what: str, progress: Progress, sleep: Callable[[float], None]
) -> None:
    """Download ``url`` into the file ``part`` and continue what an earlier attempt left there.

    A broken connection or an overloaded server is tried again after a wait. If the server cannot
    continue in the middle, the whole file is downloaded again. A server that cannot be reached at
    all is not tried again.

    Raises:
        DataError: the server does not have the file, or refuses it.
        RunError: the server cannot be reached, or the file cannot be written.
        SettingError: the address, or the proxy that the environment names, cannot be used.
    """
    with _new_client() as client:
        for wait in (*WAITS_SECONDS, None):
            try:
                _attempt(client, url, part, what, progress)
            except httpx2.HTTPStatusError as error:
                _raise_if_final(url, part, error.response)
                if wait is None:
                    status = error.response.status_code
                    message = f"{url}: HTTP {status} at every attempt; try again later"
                    raise DataError(message) from error
                sleep(_requested_wait(error.response, wait))
            except httpx2.InvalidURL as error:
                raise SettingError(
                    f"{url}: not an address ({error}); correct CLINPROMPT_FETCH_BASE"
                ) from error
            except httpx2.RequestError as error:
                if wait is None or _is_untrusted(error) or _is_unreachable(error):
                    raise _network_error(url, error) from error
                sleep(wait)
            else:
                return


def _new_client() -> httpx2.Client:
    try:
        return httpx2.Client(headers=_HEADERS, timeout=_TIMEOUT_SECONDS, follow_redirects=True)
    except (ImportError, ValueError) as error:
        raise SettingError(
            f"the proxy in https_proxy, http_proxy or all_proxy cannot be used ({error}); "
            "give an address that starts with http://"
        ) from error


def _attempt(client: httpx2.Client, url: str, part: Path, what: str, progress: Progress) -> None:
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        done = done if _starts_at(response, done) else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        progress.begin(what, total=total, done=done)
        with writing(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            stream = part.open("ab" if done else "wb", buffering=0)
        with stream:
            for block in response.iter_raw():
                with writing(part):
                    stream.write(block)
                progress.advance(len(block))


def _starts_at(response: httpx2.Response, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {start}-")


def _raise_if_final(url: str, part: Path, response: httpx2.Response) -> None:
    """Raise an error that another attempt would not change; remove a part that is too long."""
    status = response.status_code
    if status == _RANGE_NOT_SATISFIABLE:
        with writing(part):
            part.unlink(missing_ok=True)
    if status < 500 and status not in _RETRIED_STATUS:
        raise DataError(
            f"{url}: HTTP {status} ({response.reason_phrase}); the repository was renamed or "
            "removed, or the card's path or commit is wrong: correct the card, or take the files "
            "from a mirror (--mirror DIR)"
        )


def _requested_wait(response: httpx2.Response, wait: float) -> float:
    requested = response.headers.get("Retry-After", "")
    if not requested.isdecimal():
        return wait
    return max(wait, min(float(requested), _LONGEST_WAIT_SECONDS))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_untrusted(error: httpx2.RequestError) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _is_unreachable(error: httpx2.RequestError) -> bool:
    """Return whether no connection can be made: unknown name, refused, or no route."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ProxyError):
        return True
    broken = any(isinstance(c, ssl.SSLError | ConnectionResetError) for c in _causes(error))
    return isinstance(error, httpx2.ConnectError) and not broken


def _network_error(url: str, error: httpx2.RequestError) -> RunError:
    host = urlsplit(url).netloc
    if _is_untrusted(error):
        remedy = "set SSL_CERT_FILE to the certificates of your network"
    elif _is_unreachable(error):
        return RunError(
            f"{host}: cannot be reached ({error}); check the network and https_proxy, or run fetch "
            "with --to DIR on a machine that has a network, copy DIR here and pass --mirror DIR"
        )
    else:
        remedy = "check the network and https_proxy; the next command continues this download"
    return RunError(f"{host}: no complete answer ({error or type(error).__name__}); {remedy}")
