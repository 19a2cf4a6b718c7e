"""Schemathesis makes requests from the server's own description; none is an error of the server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_server import TOKEN


@pytest.mark.slow
@pytest.mark.parametrize("knows_names", [False, True])
def test_no_request_that_the_description_allows_is_an_error_of_the_server(
    server, tmp_path, knows_names
):
    description = server.client.get("/openapi.json").json()
    if knows_names:
        _name_tasks(description["components"]["schemas"], server.state.tasks.names)
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    command = Path(sys.executable).with_name("schemathesis")
    words = [
        *("run", "openapi.json", "--url", server.url),
        *("--header", f"Authorization: Bearer {TOKEN}", "--checks", "not_a_server_error"),
        *("--max-examples", "10", "--phases", "coverage,fuzzing"),
        *("--seed", "1", "--workers", "1", "--no-color"),
    ]
    ended = subprocess.run(
        [str(command), *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-1000:]
    assert server.state.engine.num_failures == 0
    assert server.client.get("/readyz").status_code == 200
    if knows_names:
        answered = server.client.get("/metrics").text
        assert 'code="200"' in answered  # some were more than refused


def _name_tasks(schemas, names):
    """Say which tasks there are, which is not guessed."""
    schemas["NoteRequest"]["properties"]["tasks"]["items"]["enum"] = list(names)
    for name in ("ChatRequest", "CompletionRequest"):
        schemas[name]["properties"]["model"]["enum"] = list(names)
