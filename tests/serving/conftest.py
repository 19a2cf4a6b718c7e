"""A server on a free port of this machine, with the random prompts of a tiny model."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket

import httpx2
import pytest
from made_store import save_store

from clinprompt.serving.access import Limits
from clinprompt.serving.server import Listening, make_server
from clinprompt.serving.state import ServerState

TOKEN = "a-secret-of-the-tests"


@dataclass
class Running:
    """A running server, and a client with its token."""

    state: ServerState
    url: str
    client: httpx2.Client
    store: object


def free_port():
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def running(backbone, store, **limits):
    state = ServerState(backbone, store, limits=Limits(**limits))
    place = Listening("127.0.0.1", free_port(), TOKEN, frozenset({"127.0.0.1", "localhost"}))
    server = make_server(state, place)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with httpx2.Client(base_url=place.url, headers=headers, timeout=60) as client:
            yield Running(state, place.url, client, store)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_llama_folder):
    return save_store(tmp_path_factory.mktemp("served") / "store", tiny_llama_folder)


@pytest.fixture(scope="module")
def server(store, tiny_llama):
    with running(tiny_llama, store) as found:
        yield found
