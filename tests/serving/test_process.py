"""The command itself: it opens no connection, ends in good order and prints no record text."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from made_server import free_port
from made_store import TASKS

MARK = "zebrafish"
NOTE = {"tasks": [TASKS[0], TASKS[3]], "text": f"Takes {MARK} 5 mg."}
# What the interpreter itself sees is written to a file: nothing can get around it.
WATCHED = """
import sys
events = open(sys.argv.pop(1), "a", buffering=1)
names = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
         "socket.bind", "subprocess.Popen", "os.exec", "os.posix_spawn")
sys.addaudithook(lambda name, values: name in names and events.write(f"{name} {values[1:2]}\\n"))
from clinprompt.cli import main
main()
"""


@dataclass
class Process:
    """A server in a process of its own, with what it printed and which sockets it opened."""

    popen: subprocess.Popen
    client: httpx2.Client
    port: int
    printed: Path
    events: Path


@pytest.fixture
def process(store, tmp_path, tiny_llama_folder):
    printed, events, port = tmp_path / "printed", tmp_path / "events", free_port()
    words = ["serve", str(store), "--backbone", str(tiny_llama_folder), "--device", "cpu"]
    words += ["--port", str(port), "--max-characters", "300"]
    with printed.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(events), *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx2.Client(base_url=url, timeout=120) as client:
            while not is_ready(client):
                assert popen.poll() is None, printed.read_text()
                time.sleep(0.1)
            [token] = [
                line.rpartition(" ")[2]
                for line in printed.read_text().splitlines()
                if line.startswith("token of this run: ")
            ]
            client.headers["Authorization"] = f"Bearer {token}"
            yield Process(popen, client, port, printed, events)
    finally:
        popen.kill()
        popen.wait()


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def misuse(client):
    """Send what must not be printed; return the answers' texts."""
    post, json_type = client.post, {"Content-Type": "application/json"}
    answers = [
        post("/v1/predict", json={**NOTE, MARK: MARK}),
        post("/v1/predict", json={**NOTE, "tasks": [MARK]}),
        post("/v1/predict", json={**NOTE, "text": MARK * 100}),
        post("/v1/predict", content=f'{{"text": "{MARK}', headers=json_type),
        post(f"/v1/{MARK}?{MARK}={MARK}", json=NOTE),
        post("/v1/predict", json=NOTE, headers={"Authorization": MARK}),
        post("/v1/completions", json={"model": MARK, "prompt": MARK}),
        client.get(f"/v1/models/{MARK}"),
    ]
    assert all(400 <= one.status_code < 500 for one in answers)
    return "".join(one.text for one in answers) + client.get("/metrics").text


@pytest.mark.slow
def test_sigterm_ends_a_server_after_the_answers_that_it_has_accepted(process):
    lines = [json.dumps({**NOTE, "id": str(number)}) for number in range(150)]
    assert MARK not in misuse(process.client)
    chat = {"model": TASKS[3], "messages": [{"role": "user", "content": MARK}]}
    assert process.client.post("/v1/chat/completions", json=chat).status_code == 200
    with process.client.stream(
        "POST",
        "/v1/predict/batch",
        content="\n".join(lines),
        headers={"Content-Type": "application/jsonl"},
    ) as given:
        answered = given.iter_lines()
        rows = [json.loads(next(answered))]
        process.popen.send_signal(signal.SIGTERM)
        rows += map(json.loads, answered)
    assert [row["id"] for row in rows] == [str(number) for number in range(150)]
    assert all(len(row["answers"]) == 2 for row in rows)
    assert process.popen.wait(timeout=60) == 128 + signal.SIGTERM
    with pytest.raises(httpx2.TransportError):
        process.client.get("/healthz")
    printed = process.printed.read_text()
    assert MARK not in printed
    token = process.client.headers["Authorization"].removeprefix("Bearer ")
    assert f"open http://127.0.0.1:{process.port}/workbench/#token={token}\n" in printed
    assert "Traceback" not in printed
    assert process.events.read_text().splitlines() == [
        f"socket.bind (('127.0.0.1', {process.port}),)"
    ]
