"""Requests that Schemathesis makes to a workspace from its description cause no server error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_server import TOKEN
from made_workspace import metaprompt_in, notes_of, teaching


@pytest.mark.slow
def test_no_request_to_a_workspace_is_an_error_of_the_server(
    tmp_path, tiny_llama, tiny_llama_folder, monkeypatch
):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder, steps=1)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as page:
        page.make()
        page.post("/tasks/drugs/notes", {"notes": notes_of(8)})
        page.correct(3)
        description = page.client.get("/openapi.json").json()
        _name(description, "drugs")
        (tmp_path / "openapi.json").write_text(json.dumps(description))
        command = Path(sys.executable).with_name("schemathesis")
        words = [
            *("run", "openapi.json", "--url", page.server.url),
            *("--header", f"Authorization: Bearer {TOKEN}", "--checks", "not_a_server_error"),
            *("--max-examples", "10", "--phases", "coverage,fuzzing"),
            *("--seed", "1", "--workers", "1", "--no-color"),
        ]
        ended = subprocess.run(
            [str(command), *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-1000:]
        assert page.server.state.engine.num_failures == 0
        assert page.client.get("/readyz").status_code == 200
        for task in page.get("")["tasks"]:
            if task["run"]:
                page.wait(task["run"], task["name"])


def _name(description, task):
    """Say which task and numbers there are, which are not guessed; keep the task itself."""
    paths = {
        path: one
        for path, one in description["paths"].items()
        if path.startswith(("/v1/workspace", "/v1/export"))
    }
    del paths["/v1/workspace/tasks/{task}"]["delete"]
    del paths["/v1/workspace/tasks/{task}/notes"]["delete"]
    for methods in paths.values():
        for method in methods.values():
            for parameter in method.get("parameters", []):
                if parameter["name"] == "task":
                    parameter["schema"]["enum"] = [task]
                if parameter["schema"].get("type") == "integer":
                    parameter["schema"] |= {"minimum": 0, "maximum": 9}
    description["paths"] = paths
    description["components"]["schemas"]["ExportBody"]["properties"]["task"]["enum"] = [task]
