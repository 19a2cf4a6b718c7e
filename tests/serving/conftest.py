"""A server with the random prompts of a tiny model."""

import pytest
from made_server import running
from made_store import save_store


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_llama_folder):
    return save_store(tmp_path_factory.mktemp("served") / "store", tiny_llama_folder)


@pytest.fixture(scope="module")
def server(store, tiny_llama):
    with running(tiny_llama, store) as found:
        yield found
