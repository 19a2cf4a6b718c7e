"""Run a server on a free port of this machine, in a thread of the test's process."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from threading import Event

import httpx2

from clinprompt.serving.access import Guard, Limits
from clinprompt.serving.server import Listening, make_server
from clinprompt.serving.state import ServerState

TOKEN = "a-secret-of-the-tests"
MARK = "zebrafish"  # stands in what is sent, and must stand nowhere else


@dataclass
class Running:
    """A running server, and a client with its token."""

    state: ServerState
    url: str
    client: httpx2.Client
    store: object
    guard: Guard

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])


def free_port():
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(backbone, store, **limits):
    with serving(ServerState(backbone, store, limits=Limits(**limits)), store) as found:
        yield found


@contextmanager
def serving(state, store, teacher=None):
    place = Listening("127.0.0.1", free_port(), TOKEN, frozenset({"127.0.0.1", "localhost"}))
    server = make_server(state, place, teacher)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with httpx2.Client(base_url=place.url, headers=headers, timeout=60) as client:
            yield Running(state, place.url, client, store, server.config.app)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


@contextmanager
def held(server):
    """Keep the server from answering; what is sent meanwhile waits in its queue."""
    entered, release = Event(), Event()
    server.state.engine.call(lambda: (entered.set(), release.wait(60)))
    assert entered.wait(60)
    try:
        yield
    finally:
        release.set()


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def counted(server, code):
    """Return how many answers with a code the server's metrics show."""
    lines = server.client.get("/metrics").text.splitlines()
    own = [one for one in lines if one.startswith("clinprompt_answers_total{") and code in one]
    return sum(float(one.rpartition(" ")[2]) for one in own)
