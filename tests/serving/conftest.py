"""A server with the random prompts of a tiny model."""

import logging

import pytest
from made_server import MARK, running
from made_store import save_store


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_llama_folder):
    return save_store(tmp_path_factory.mktemp("served") / "store", tiny_llama_folder)


@pytest.fixture(scope="module")
def server(store, tiny_llama):
    with running(tiny_llama, store) as found:
        yield found


class Heard(logging.Handler):
    """Keep all that is logged, as it would be written."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.name}: {self.format(record)}")


@pytest.fixture
def heard():
    """All log records of this server, uvicorn and asyncio; none may hold the mark."""
    handler = Heard()
    loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.access")]
    for one in loggers:
        one.addHandler(handler)
    yield handler.lines
    for one in loggers:
        one.removeHandler(handler)
    assert MARK not in "\n".join(handler.lines)
