"""What happens to a task while something else about it is still going on."""

import asyncio
from contextlib import contextmanager
from threading import Event, Thread
from types import SimpleNamespace

import pytest
from made_workspace import metaprompt_in, notes_of, teaching

from clinprompt.errors import RunError
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching import scores
from clinprompt.serving.teaching.corrections import Corrections
from clinprompt.serving.teaching.teacher import Teacher


@pytest.fixture
def page(tmp_path, tiny_llama, tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        found.make()
        found.post("/tasks/drugs/notes", {"notes": notes_of(4)})
        yield found


@contextmanager
def asking(page, path, body, gate):
    """Send a request in a thread, and wait until it comes to the gate; yield its answer."""
    found, method = SimpleNamespace(given=None), "GET" if body is None else "POST"

    def ask():
        found.given = page.client.request(method, f"/v1/workspace{path}", json=body)

    thread = Thread(target=ask)
    thread.start()
    assert gate.reached.wait(60)
    try:
        yield found
    finally:
        gate.opened.set()
        thread.join(60)


@pytest.fixture
def gate():
    return SimpleNamespace(reached=Event(), opened=Event())


@pytest.fixture
def slow_answers(monkeypatch, gate):
    """Let answers of the model wait at the gate."""
    answers = ServerState.answers

    async def later(self, jobs, is_gone):
        found = await answers(self, jobs, is_gone)
        gate.reached.set()
        while not gate.opened.is_set():
            await asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(ServerState, "answers", later)


def test_a_task_that_is_removed_while_a_note_is_answered_leaves_nothing(page, slow_answers, gate):
    with asking(page, "/tasks/drugs/offers", {"order": "random"}, gate) as offer:
        page.delete("/tasks/drugs")
    assert not (page.folder / "drugs").exists()
    assert offer.given.status_code == 404
    assert offer.given.json()["error"]["code"] == "unknown_task"
    page.make()  # the name is free
    assert page.teacher.answers.known("drugs", page.get("/tasks/drugs")["served"]["prompt"]) == {}


def test_nothing_is_removed_while_an_adaptation_begins(page, monkeypatch, gate):
    usable = Teacher._usable

    def later(self, run):
        gate.reached.set()
        assert gate.opened.wait(60)
        return usable(self, run)

    monkeypatch.setattr(Teacher, "_usable", later)
    page.correct(2)
    with asking(page, "/tasks/drugs/runs", {}, gate) as run:
        assert page.delete("/tasks/drugs/notes/1", 409)["code"] == "is_adapting"
        assert page.delete("/tasks/drugs", 409)["code"] == "is_adapting"
    assert run.given.status_code == 200, run.given.text
    page.post("/tasks/drugs/runs/1/stop", {})
    page.delete("/tasks/drugs")
    assert not (page.folder / "drugs").exists()


def test_an_adaptation_that_cannot_begin_leaves_no_copy_of_the_notes(page, monkeypatch):
    def full(self, run):
        raise RunError("runs: could not be written (No space left on device); free some space")

    monkeypatch.setattr(Teacher, "_usable", full)
    page.correct(2)
    assert page.post("/tasks/drugs/runs", {}, 500)["code"] == "not_written"
    assert not list((page.folder / "drugs").rglob("task"))


def is_in_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_scores_are_those_of_the_moment_at_which_they_were_asked(page, monkeypatch, gate):
    def late(function):
        """Let a function wait at the gate where it is called in a thread beside the event loop."""

        def found(*given, **named):
            result = function(*given, **named)
            if not is_in_loop():
                gate.reached.set()
                assert gate.opened.wait(60)
            return result

        return found

    monkeypatch.setattr(Corrections, "corrected", late(Corrections.corrected))
    monkeypatch.setattr(Corrections, "skipped", late(Corrections.skipped))
    monkeypatch.setattr(scores, "score", late(scores.score))
    page.correct(2)
    with asking(page, "/tasks/drugs/scores", None, gate) as asked:
        [first, *_] = page.get("/tasks/drugs/corrections")["corrections"]
        page.delete(f"/tasks/drugs/notes/{first['note']}")
        page.correct(1)
    assert asked.given.status_code == 200, asked.given.text
    [row] = asked.given.json()["prompts"]
    assert (row["num"], row["skipped"]) == (2, 0)
