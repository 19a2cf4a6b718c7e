"""Refuse requests that lack the token, come from a foreign page, are too large or not JSON.

This wraps the whole application, so that nothing is read or parsed before it. It also turns an
unexpected error into an answer and a log line without the error's message, which may hold text of
a record.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from clinprompt.errors import place_of
from clinprompt.settings.defaults import NOTE_CHARACTERS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("clinprompt.serving")
# For probes, which know neither name nor token, and for people who open the address.
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
PAGE = "/workbench"  # its files need no token, but the right Host
JSON_TYPES = frozenset({"application/json", "application/x-ndjson", "application/jsonl"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be: sizes in bytes, characters, rows and seconds."""

    body_bytes: int = 1 << 20
    batch_bytes: int = 64 << 20
    text_characters: int = NOTE_CHARACTERS
    rows: int = 1000
    seconds: float = 120.0


class Refused(Exception):  # noqa: N818 - an HTTP answer, not a fault
    """Signal that a request is answered with an error status."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    def content(self) -> dict[str, Any]:
        """Return the body of the answer, in the form that OpenAI's clients read."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


class Guard:
    """Check each request before the application sees it."""

    def __init__(self, app: App, *, token: str, hosts: frozenset[str], limits: Limits) -> None:
        """Wrap ``app``; ``hosts`` are the names under which this server may be addressed."""
        self._app, self._token = app, token.encode()
        self._hosts, self._limits = hosts, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(
            receive, send, most_bytes=self._most_bytes(scope), seconds=self._limits.seconds
        )
        refused: Refused | None = None
        try:
            self._check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except Refused as error:
            refused = error
        except Exception as error:
            refused = failed(error)
        refused = exchange.refused or refused
        if refused and not exchange.has_begun:
            await _answer(send, refused)

    def _check(self, scope: Scope) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = name_of(headers.get("host", ""))
        if host not in self._hosts:
            raise Refused(
                403, "unknown_host", "the Host header names another server; see --allowed-host"
            )
        origin = headers.get("origin")
        if origin is not None and name_of(origin.partition("://")[2]) not in self._hosts:
            raise Refused(403, "foreign_origin", "requests of pages of other servers are refused")
        if scope["path"] == PAGE or scope["path"].startswith(f"{PAGE}/"):
            return
        self._check_token(headers.get("authorization", ""))
        if scope["method"] in ("POST", "PUT", "PATCH"):
            _check_type(headers.get("content-type", ""))
            self._check_length(headers.get("content-length", ""), self._most_bytes(scope))

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        is_right = hmac.compare_digest(token.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise Refused(
                401, "invalid_api_key", "give the server's token: Authorization: Bearer TOKEN"
            )

    def _check_length(self, given: str, most: int) -> None:
        if given.isascii() and given.isdigit() and (len(given) > 18 or int(given) > most):
            raise _too_large(most)

    def _most_bytes(self, scope: Scope) -> int:
        is_batch = scope["path"].endswith("/batch")
        return self._limits.batch_bytes if is_batch else self._limits.body_bytes


def _check_type(given: str) -> None:
    if given.partition(";")[0].strip().lower() not in JSON_TYPES:
        raise Refused(415, "unsupported_media_type", "send JSON: Content-Type: application/json")


def name_of(host: str) -> str:
    """Return a host without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


class _Exchange:
    """One request, whose body stays within its limits, and its answer.

    Holds mutable state: what was received and sent.
    """

    def __init__(self, receive: Receive, send: Send, *, most_bytes: int, seconds: float) -> None:
        self._receive, self._send = receive, send
        self._most, self._seconds = most_bytes, seconds
        self._deadline: float | None = asyncio.get_running_loop().time() + seconds
        self._total = 0
        self.refused: Refused | None = None
        self.has_begun = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next part of the request.

        Raises:
            Refused: the body is longer (413) or takes more time (408) than it may.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            text = f"the body did not arrive within the limit of {self._seconds:g} s"
            self.refused = Refused(408, "body_timeout", text)
            raise self.refused from error
        self._total += len(message.get("body", b""))
        if self._total > self._most:
            self.refused = _too_large(self._most)
            raise self.refused
        if not message.get("more_body", False):
            self._deadline = None
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the answer, unless the body was refused: the application hides why."""
        if self.refused:
            return
        self.has_begun = self.has_begun or message["type"] == "http.response.start"
        await self._send(message)


def failed(error: Exception) -> Refused:
    """Log where an unexpected error was raised, and return its answer; both without its message."""
    log.error("a request failed: %s", place_of(error))
    return internal_error()


def internal_error() -> Refused:
    """Return the answer to an unexpected error."""
    return Refused(500, "internal_error", "the server failed; see its log")


def _too_large(most: int) -> Refused:
    return Refused(413, "body_too_large", f"the body is longer than {most} bytes")


async def _answer(send: Send, refused: Refused) -> None:
    body = json.dumps(refused.content()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
