"""Adaptations are stopped, continued, killed and refused; prompts come and go with their store."""

import os
import shutil
import time

import pytest
from made_workspace import metaprompt_in, notes_of, open_workspace, teaching

from clinprompt.errors import RunError
from clinprompt.jobs.before_adapting import usable_rows
from clinprompt.prompts.artifact import load_artifact, make_artifact, save_artifact
from clinprompt.serving.teaching.prompts import digest_of

STEPS = 60


@pytest.fixture
def page(tmp_path, tiny_llama, tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder, steps=STEPS)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        found.make()
        found.post("/tasks/drugs/notes", {"notes": notes_of(8)})
        found.correct(4)
        yield found


def trained(page, steps=3):
    """Start a run and wait until it has trained so many steps; return it."""
    run = page.post("/tasks/drugs/runs", {})
    while run["step"] < steps:
        assert run["state"] == "running", run
        time.sleep(0.05)
        run = page.get(f"/tasks/drugs/runs/{run['run']}")
    return run


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_one_of_other_corrections_is_new(page):
    trained(page)
    assert page.delete("/tasks/drugs", 409)["code"] == "is_adapting"
    assert page.delete("/tasks/drugs/notes/1", 409)["code"] == "is_adapting"
    assert page.get("/tasks/drugs/runs/1/comparison", 409)["code"] == "not_done"
    stopped = page.post("/tasks/drugs/runs/1/stop", {})
    assert (stopped["state"], stopped["message"]) == ("stopped", "")
    assert page.get("")["adapting"] is None
    again = trained(page, stopped["step"])
    assert again["run"] == 1
    page.post("/tasks/drugs/runs/1/stop", {})
    page.correct(1)
    other = page.wait(page.post("/tasks/drugs/runs", {}))
    assert (other["run"], other["state"], other["corrections"]) == (2, "done", 5)
    first, second = page.get("/tasks/drugs/runs")["runs"]
    assert (first["state"], second["step"]) == ("stopped", STEPS)
    assert not (page.folder / "drugs/runs/1/task").exists()
    assert page.get("/tasks/drugs")["served"]["version"] == 0


@pytest.mark.slow
def test_a_run_that_is_killed_says_so_and_goes_on(page):
    trained(page)
    process = page.teacher.tasks["drugs"].running._process
    nice = os.getpriority(os.PRIO_PROCESS, process.pid)
    assert nice == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    process.kill()
    failed = page.wait({"run": 1, "state": "running"})
    assert failed["state"] == "failed"
    assert "was killed (signal 9)" in failed["message"]
    done = page.wait(page.post("/tasks/drugs/runs", {}))
    assert (done["run"], done["state"], done["message"]) == (1, "done", "")


def test_nothing_can_be_trained_on_without_corrections(page):
    page.make("empty")
    assert page.post("/tasks/empty/runs", {}, 409)["code"] == "nothing_to_train"
    page.post("/tasks/empty/notes", {"notes": [{"text": "a" * 40}]})
    span = {"start": 0, "end": 40, "type": "DRUG"}
    page.correct(1, task="empty", answer=lambda _: {"entities": [span]})
    error = page.post("/tasks/empty/runs", {}, 409)
    assert error["code"] == "nothing_to_train"
    assert "more than 30 tokens" in error["message"]
    assert not list((page.folder / "empty" / "runs").iterdir())


def test_rows_of_long_notes_and_of_long_answers_are_counted(page, tiny_llama):
    page.make("long")
    listed = f"Takes {'a' * 40}."
    notes = [{"text": "Rests. " * 300}, {"text": listed}, {"text": "Takes aspirin."}]
    page.post("/tasks/long/notes", {"notes": notes})
    span = {"start": 6, "end": 46, "type": "DRUG"}
    page.correct(
        3,
        task="long",
        answer=lambda note: {"entities": [span] if note["text"] == listed else []},
    )
    card = page.teacher.tasks["long"].card
    usable = usable_rows(tiny_llama, card, page.teacher.recipe.config)
    assert usable.left_out == 1
    assert usable.rows > 2  # the long note is read in windows


def test_a_file_that_cannot_be_written_is_named(page, monkeypatch):
    def full(path, *_, **__):
        raise RunError(f"{path}: could not be written (No space left on device); free some space")

    offer = page.post("/tasks/drugs/offers", {"order": "random"})
    with monkeypatch.context() as patch:
        patch.setattr("clinprompt.serving.teaching.lines.append_line", full)
        body = {"note": offer["note"]["note"], "answer": {"entities": []}}
        error = page.post("/tasks/drugs/corrections", body, 500)
    assert error["code"] == "not_written"
    assert "No space left" in error["message"]
    assert page.get("/tasks/drugs")["notes"]["corrected"] == 4


def changed(folder, seed):
    artifact = load_artifact(folder)
    vectors = artifact.tensors["vectors"] + seed
    return make_artifact(artifact.manifest, {"vectors": vectors})


def test_a_store_that_is_not_valid_leaves_the_prompt_as_it_was(page):
    task = page.teacher.tasks["drugs"]
    task.prompts.keep(1, changed(page.folder / "drugs/prompts/0", 1), [task.notes[1]])
    before = page.predict("Takes aspirin.")
    other = page.folder / "store" / "other"
    shutil.copytree(page.folder / "store" / "drugs", other)
    (other / "prompt.safetensors").write_bytes(b"x")
    assert page.post("/tasks/drugs/prompt", {"version": 1}, 409)["code"] == "store_not_valid"
    assert page.get("/tasks/drugs")["served"]["version"] == 0
    assert page.predict("Takes aspirin.") == before
    shutil.rmtree(other)
    assert page.post("/tasks/drugs/prompt", {"version": 1})["served"]["version"] == 1
    assert page.post("/tasks/drugs/prompt/undo", {})["served"]["version"] == 0


def test_the_store_is_believed_after_a_kill(page, tiny_llama, tmp_path):
    drugs, store = page.folder / "drugs", page.folder / "store" / "drugs"
    task = page.teacher.tasks["drugs"]
    task.prompts.keep(1, changed(drugs / "prompts/0", 1), [task.notes[1]])
    save_artifact(store, load_artifact(drugs / "prompts/1"))  # killed before served.json
    _, teacher = open_workspace(tiny_llama, page.folder, tmp_path / "metaprompt")
    assert teacher.tasks["drugs"].prompts.served.version == 1
    foreign = changed(drugs / "prompts/0", 2)
    save_artifact(store, foreign)  # somebody else's
    _, teacher = open_workspace(tiny_llama, page.folder, tmp_path / "metaprompt")
    served = teacher.tasks["drugs"].prompts.served
    assert (served.version, served.digest) == (2, digest_of(foreign))
