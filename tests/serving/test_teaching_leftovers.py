"""What a killed server or another process may leave in a workspace, and who may use one."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from command_line import call
from made_server import MARK
from made_workspace import metaprompt_in, notes_of, open_workspace, teaching

from clinprompt.errors import DataError
from clinprompt.files import locked
from clinprompt.prompts.artifact import load_artifact, make_artifact
from clinprompt.serving.teaching import choosing, notes
from clinprompt.serving.teaching.adapting import Run
from clinprompt.serving.teaching.comparing import Comparisons
from clinprompt.serving.teaching.corrections import Corrections
from clinprompt.serving.teaching.notes import NewNote, Notes


@pytest.fixture
def metaprompt(tmp_path, tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    return metaprompt_in(tmp_path, tiny_llama_folder)


@pytest.fixture
def page(tmp_path, tiny_llama, metaprompt):
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        found.make()
        found.post("/tasks/drugs/notes", {"notes": notes_of(4)})
        yield found


def test_a_workspace_has_one_server_at_a_time(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with locked(work / ".server.lock", wait=True):
        ended = call("serve", "--workspace", work)
    assert ended.exit_code != 0
    assert "another server uses this workspace; stop it, or name another folder" in ended.stderr


def test_drafts_of_a_killed_server_are_removed_at_the_start(tmp_path, tiny_llama, metaprompt):
    work = tmp_path / "work"
    with teaching(tiny_llama, work, metaprompt) as page:
        page.make()
    copy = work / "drugs/runs/1/task"  # of a run that was not noted yet
    copy.mkdir(parents=True)
    for path in (work / "drugs/.train.jsonl.77.part", copy / "train.jsonl"):
        path.write_text(MARK)
    open_workspace(tiny_llama, work, metaprompt)
    assert not [path for path in work.rglob("*") if path.is_file() and MARK in text_of(path)]


def text_of(path):
    return path.read_bytes().decode(errors="replace")


def test_an_incomplete_line_about_a_removed_note_is_removed(tmp_path):
    path = tmp_path / "corrections.jsonl"
    path.write_text(f'{{"event": "offered", "note": 1, "said": "{MARK}')
    Corrections(path).remove({1})
    assert MARK not in path.read_text()


def test_a_log_from_which_a_line_was_deleted_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "corrections.jsonl"
    path.write_text('{"event": "undone", "note": 1, "made": 1.0}\n')
    with pytest.raises(DataError, match=r"corrections.jsonl:1: does not fit the lines before it"):
        Corrections(path)


def test_an_adaptation_reads_the_other_files_that_the_card_names(page):
    page.correct(2)
    folder = page.folder / "drugs"
    card = folder / "card.toml"
    text = card.read_text()
    card.write_text(text.replace('"train.jsonl"', '"train.jsonl", "more.jsonl"'))
    assert card.read_text() != text
    row = {"id": "mine", "text": "Takes insulin.", "entities": []}
    (folder / "more.jsonl").write_text(json.dumps(row) + "\n")
    run = page.post("/tasks/drugs/runs", {})
    assert run["rows"] == 3
    page.post("/tasks/drugs/runs/1/stop", {})
    task = page.teacher.tasks["drugs"]
    made = Run.made(task.places.runs / "9", task.runs[0].about, task.places)
    assert made.has_copy_of(task.places)
    (folder / "more.jsonl").write_text("")
    assert not made.has_copy_of(task.places)


def test_a_note_is_hashed_once(tmp_path, monkeypatch):
    hashed = []
    fraction = notes._fraction
    monkeypatch.setattr(notes, "_fraction", lambda text: hashed.append(text) or fraction(text))
    kept = Notes(tmp_path / "notes.jsonl")
    kept.add([NewNote("", {"text": f"note {number}"}) for number in range(20)])
    for _ in range(10):
        choosing.at_random(list(kept), set())
        choosing.candidates(list(kept))
    assert len(hashed) == 2 * 20


def test_a_note_that_is_removed_and_comes_back_is_still_known_to_be_trained_on(page):
    [made] = page.correct(1)
    number = made["note"]
    task = page.teacher.tasks["drugs"]
    artifact = load_artifact(task.prompts[0].folder)
    tensors = {"vectors": artifact.tensors["vectors"] + 1}
    trained = make_artifact(artifact.manifest, tensors)
    task.prompts.keep(1, trained, [task.notes[number]])
    text = task.notes[number].fields["text"]
    page.delete("/tasks/drugs/notes")
    page.delete(f"/tasks/drugs/notes/{number}")
    page.post("/tasks/drugs/notes", {"notes": [{"text": text}]})
    page.post("/tasks/drugs/prompt", {"version": 1})
    assert not page.post("/tasks/drugs/offers", {"order": "random"})["counts"]
    page.correct(1)
    [row] = [one for one in page.get("/tasks/drugs/scores")["prompts"] if one["version"] == 1]
    assert (row["num"], row["left_out"]["trained"]) == (0, 1)


def test_comparisons_of_two_runs_do_not_begin_again_and_again(page, monkeypatch):
    task, begun = page.teacher.tasks["drugs"], []
    artifact = load_artifact(task.prompts[0].folder)
    for version in (1, 2):
        tensors = {"vectors": artifact.tensors["vectors"] + version}
        task.prompts.keep(version, make_artifact(artifact.manifest, tensors), ())

    async def compare(*_):
        begun.append(1)
        await asyncio.sleep(60)

    monkeypatch.setattr(Comparisons, "_compare", compare)

    async def look():
        comparisons = Comparisons(page.teacher.answers)
        for version in (1, 2) * 3:
            await comparisons.of(task, SimpleNamespace(about=SimpleNamespace(number=version)))

    asyncio.run(look())
    assert len(begun) == 2


@pytest.mark.slow
def test_files_of_the_working_folder_are_not_run_as_code(page, tmp_path, monkeypatch):
    (tmp_path / "statistics.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    page.correct(2)
    assert page.adapt()["state"] == "done"
