"""A server that is killed loses at most the correction in flight, and a run goes on later."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import Thread

import httpx2
import pytest
from made_server import MARK, free_port
from made_workspace import Page, drug_in, metaprompt_in, notes_of


class Process:
    """A server with a workspace in a process of its own."""

    def __init__(self, popen, client, printed):
        self.popen, self.client, self.printed = popen, client, printed

    def kill(self):
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()


@contextmanager
def served(folder, model):
    """Start the command on a workspace in a folder; yield the process and a page."""
    port, printed = free_port(), folder / "printed"
    words = ["serve", "--workspace", str(folder / "work"), "--port", str(port)]
    words += ["--metaprompt", str(folder / "metaprompt"), "--backbone", str(model)]
    words += ["--device", "cpu"]
    with printed.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-c", "from clinprompt.cli import main; main()", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            deadline = time.monotonic() + 120
            while not is_ready(client):
                assert popen.poll() is None, printed.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            tokens = [one for one in printed.read_text().splitlines() if one.startswith("token of")]
            client.headers["Authorization"] = f"Bearer {tokens[-1].rpartition(' ')[2]}"
            process = Process(popen, client, printed)
            yield process, Page(process, None, folder / "work")
    finally:
        popen.kill()
        popen.wait()


def is_ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.slow
def test_a_killed_server_loses_at_most_the_correction_in_flight(tmp_path, tiny_llama_folder):
    metaprompt_in(tmp_path, tiny_llama_folder)
    done = []

    def correct_until_killed(page):
        try:
            while True:
                done.extend(page.correct(1))
        except (httpx2.TransportError, AssertionError, TypeError):
            pass

    with served(tmp_path, tiny_llama_folder) as (process, page):
        assert "no task yet" in process.printed.read_text()
        page.make()
        page.post("/tasks/drugs/notes", {"notes": notes_of(400)})
        corrector = Thread(target=correct_until_killed, args=[page])
        corrector.start()
        while len(done) < 12:
            time.sleep(0.01)
        process.kill()
        corrector.join(timeout=60)
    log = tmp_path / "work" / "drugs" / "corrections.jsonl"
    with log.open("ab") as stream:
        stream.write(b'{"event": "corrected", "note": 3, "ans')  # as a power cut may leave it
    with served(tmp_path, tiny_llama_folder) as (process, page):
        kept = page.get("/tasks/drugs/corrections")["corrections"]
        assert len(done) <= len(kept) <= len(done) + 1
        assert page.get("/tasks/drugs")["notes"]["waiting"] == 400 - len(kept)
        assert all(offsets(one["answer"]) == offsets(drug_in(one)) for one in kept)
        page.correct(1)
        assert len(page.get("/tasks/drugs/corrections")["corrections"]) == len(kept) + 1
        train = tmp_path / "work" / "drugs" / "train.jsonl"
        assert len(train.read_text().splitlines()) == len(kept) + 1
        assert "the last line is incomplete" in process.printed.read_text()
        assert [json.loads(one)["note"] for one in log.read_text().splitlines()]


@pytest.mark.slow
def test_a_run_goes_on_after_the_server_was_killed(tmp_path, tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    metaprompt_in(tmp_path, tiny_llama_folder, steps=80)
    notes = [{**one, "text": f"{one['text']} {MARK}"} for one in notes_of(6)]
    with served(tmp_path, tiny_llama_folder) as (process, page):
        page.make()
        page.post("/tasks/drugs/notes", {"notes": notes})
        page.correct(6)
        run = page.post("/tasks/drugs/runs", {})
        assert page.get("")["adapting"] == {"task": "drugs", "run": 1}
        assert page.post("/tasks/drugs/runs", {}, 409)["code"] == "is_adapting"
        while run["step"] < 5:
            time.sleep(0.1)
            run = page.get("/tasks/drugs/runs/1")
            assert run["state"] == "running", run
        assert run["phase"] == "training"
        assert run["seconds_left"] > 0
        process.kill()
    with served(tmp_path, tiny_llama_folder) as (process, page):
        assert page.get("/tasks/drugs")["run"]["state"] == "stopped"
        run = began_again(page)
        assert run["run"] == 1
        run = page.wait(run)
        assert (run["state"], run["step"], run["message"]) == ("done", 80, "")
        page.post("/tasks/drugs/prompt", {"version": 1})
        assert page.client.get("/v1/tasks").json()[0]["shots"] == 6
        work = tmp_path / "work"
        steps = [
            json.loads(line)["step"]
            for line in (work / "drugs/runs/1/run/metrics.jsonl").read_text().splitlines()
            if "loss" in line
        ]
        assert steps.count(1) == 1  # it did not begin again
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(timeout=60) == 128 + signal.SIGTERM
    assert MARK not in process.printed.read_text()
    assert "Traceback" not in process.printed.read_text()
    for path in [work, work / "drugs", *(path for path in work.rglob("*") if path.is_file())]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    holding = {path.name for path in work.rglob("*") if path.is_file() and MARK in text_of(path)}
    assert holding <= {"notes.jsonl", "train.jsonl", "corrections.jsonl"}
    assert not list((work / "drugs/runs").rglob("train.jsonl"))  # the copy is gone


def offsets(answer):
    return [(one["start"], one["end"], one["type"]) for one in answer["entities"]]


def text_of(path):
    return path.read_bytes().decode(errors="replace")


def began_again(page):
    """Adapt again, once the process of the killed server has ended."""
    deadline = time.monotonic() + 60
    while True:
        given = page.client.post("/v1/workspace/tasks/drugs/runs", json={})
        if given.status_code == 200:
            return given.json()
        assert given.json()["error"]["code"] == "is_adapting"
        assert time.monotonic() < deadline
        time.sleep(0.2)
