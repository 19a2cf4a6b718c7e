"""Run the server: check where it listens, make or read its token, and end it in good order."""

import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import uvicorn

from clinprompt.errors import SettingError
from clinprompt.serving.access import PAGE, Guard, name_of
from clinprompt.serving.app import make_app
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching.teacher import Teacher

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_MIN_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens and who may use it."""

    host: str
    port: int
    token: str
    hosts: frozenset[str]

    @property
    def url(self) -> str:
        """Return the address for clients on this machine."""
        return f"http://{_in_url(self.host)}:{self.port}"

    @property
    def page_url(self) -> str:
        """Return the address of the page with the token, which browsers keep from the server."""
        return f"{self.url}{PAGE}/#token={quote(self.token, safe='')}"


def listening(
    host: str, port: int, *, token_file: Path | None, allowed_hosts: tuple[str, ...] = ()
) -> Listening:
    """Return where to listen; without a token file, a token is made for this run.

    Raises:
        SettingError: the address is not of this machine alone and there is no token file, or the
            file holds no token; or it stands for all addresses and no name of this server is known.
    """
    if token_file is not None:
        token = _token_of(token_file)
    elif _is_loopback(host):
        token = secrets.token_urlsafe(24)
    else:
        raise SettingError(
            f"--host {host}: other machines can reach this address; give --token-file FILE with a "
            f"secret of at least {_MIN_TOKEN} characters"
        )
    if _is_any(host) and not allowed_hosts:
        raise SettingError(
            f"--host {host}: stands for all addresses; give --allowed-host NAME for each name or "
            "address that clients write in the URL"
        )
    names = {_in_url(one) for one in (host, *allowed_hosts)}
    local = _LOCAL_NAMES if _is_loopback(host) else frozenset()
    return Listening(host, port, token, frozenset(names) | local)


def make_server(
    state: ServerState, place: Listening, teacher: Teacher | None = None
) -> uvicorn.Server:
    """Return a server that answers what it has accepted before it ends."""
    app = Guard(make_app(state, teacher), token=place.token, hosts=place.hosts, limits=state.limits)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=place.host,
            port=place.port,
            access_log=False,  # paths are written by clients
            log_level="warning",
            server_header=False,
            lifespan="on",
            ws="none",
        )
    )


def serve(state: ServerState, place: Listening, teacher: Teacher | None = None) -> None:
    """Answer requests until the process is asked to end; what was accepted is answered first."""
    make_server(state, place, teacher).run()


def _token_of(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"--token-file {path}: cannot be read as UTF-8 text") from error
    if len(token) < _MIN_TOKEN or not token.isascii() or any(one.isspace() for one in token):
        raise SettingError(
            f"--token-file {path}: must hold one secret of at least {_MIN_TOKEN} ASCII characters, "
            "without spaces"
        )
    return token


def _in_url(host: str) -> str:
    """Return a name or address as a URL and the Host header write it, without a port."""
    try:
        return f"[{ip_address(host)}]" if ":" in host else host
    except ValueError:
        return name_of(host)


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
