"""Schemathesis makes requests from the server's own description; none is an error of the server."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_server import TOKEN


@pytest.mark.slow
def test_no_request_that_the_description_allows_is_an_error_of_the_server(server, tmp_path):
    command = Path(sys.executable).with_name("schemathesis")
    words = [
        *("run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}"),
        *("--checks", "not_a_server_error", "--max-examples", "10", "--phases", "coverage,fuzzing"),
        *("--seed", "1", "--workers", "1", "--no-color"),
    ]
    ended = subprocess.run(
        [str(command), *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-1000:]
    assert server.state.engine.num_failures == 0
    assert server.client.get("/readyz").status_code == 200
