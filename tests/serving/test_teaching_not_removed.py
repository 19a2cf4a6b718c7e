"""What cannot be removed is said with its place and a remedy, and a repetition removes the rest."""

import errno
import shutil
from pathlib import Path

import pytest
from made_server import MARK
from made_workspace import metaprompt_in, open_workspace, teaching

from clinprompt.files import NotRemovedError
from clinprompt.serving.teaching.adapting import Run
from clinprompt.serving.teaching.places import move_away
from clinprompt.serving.teaching.run_files import About

SPAN = {"start": 0, "end": 9, "type": "DRUG"}


@pytest.fixture
def metaprompt(tmp_path, tiny_llama_folder, monkeypatch):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    return metaprompt_in(tmp_path, tiny_llama_folder)


@pytest.fixture
def page(tmp_path, tiny_llama, metaprompt):
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        found.make()
        notes = [{"text": f"{MARK} {number}"} for number in range(4)]
        found.post("/tasks/drugs/notes", {"notes": notes})
        found.correct(2, answer=lambda _: {"entities": [SPAN]})
        yield found


@pytest.fixture
def locked_away(monkeypatch):
    """Refuse to move or remove paths with a name, as the system does for files of another user."""
    names = set()

    def refusing(function):
        def found(path, *given, **named):
            if Path(path).name in names:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *given, **named)

        return found

    monkeypatch.setattr(shutil, "rmtree", refusing(shutil.rmtree))
    monkeypatch.setattr(Path, "rename", refusing(Path.rename))
    monkeypatch.setattr(Path, "replace", refusing(Path.replace))
    return names


def holding(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if MARK in path.read_bytes().decode(errors="replace")]


@pytest.mark.parametrize("place", ["drugs", "store/drugs"])
def test_a_task_that_cannot_be_moved_away_stays_whole(page, monkeypatch, place):
    rename = Path.rename

    def refuse(path, target):
        if path == page.folder / place:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return rename(path, target)

    before = page.get("/tasks/drugs")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        error = page.delete("/tasks/drugs", 409)
    assert error["code"] == "not_removed"
    assert f"Permission denied: {page.folder / place}" in error["message"]
    assert error["message"].endswith("then remove the task again")
    assert page.get("/tasks/drugs") == before
    page.predict("Takes zinc.")
    assert page.delete("/tasks/drugs") == {"tasks": []}
    assert not holding(page.folder)


def test_a_removed_task_of_which_something_is_left_is_removed_by_repeating(page, locked_away):
    locked_away.add(".drugs.removed")
    error = page.delete("/tasks/drugs", 409)
    assert error["code"] == "not_removed"
    assert str(page.folder / ".drugs.removed") in error["message"]
    assert error["message"].endswith("remove the task again, or start the server again")
    assert page.get("")["tasks"] == []  # it is no task any more
    assert page.get("/tasks/drugs", 404)["code"] == "unknown_task"
    assert page.client.get("/v1/tasks").json() == []
    page.delete("/tasks/drugs", 409)
    locked_away.clear()
    assert page.delete("/tasks/drugs") == {"tasks": []}
    assert not holding(page.folder)
    assert page.delete("/tasks/drugs", 404)["code"] == "unknown_task"


def test_a_task_may_get_the_name_of_one_of_which_something_is_left(page, locked_away):
    locked_away.add(".drugs.removed")
    page.delete("/tasks/drugs", 409)
    page.make()
    page.delete("/tasks/drugs", 409)
    assert page.get("/tasks/drugs")["notes"]["waiting"] == 0  # the new one stays whole
    locked_away.clear()
    page.delete("/tasks/drugs")
    assert not list(page.folder.glob("**/.drugs.removed"))


def test_what_is_left_of_a_task_is_removed_at_the_next_start(
    tmp_path, tiny_llama, metaprompt, locked_away
):
    work = tmp_path / "work"
    for place in (work, work / "store"):
        (place / ".drugs.removed").mkdir(parents=True)
    locked_away.add(".drugs.removed")
    with pytest.raises(NotRemovedError, match="then start the server again"):
        open_workspace(tiny_llama, work, metaprompt)
    locked_away.clear()
    open_workspace(tiny_llama, work, metaprompt)
    assert not list(work.glob("**/.drugs.removed"))


@pytest.mark.parametrize("name", ["notes.jsonl", "corrections.jsonl", "train.jsonl", "task"])
def test_notes_that_cannot_be_removed_are_removed_by_repeating(
    page, monkeypatch, name, locked_away
):
    [first, *_] = page.get("/tasks/drugs/corrections")["corrections"]
    task = page.teacher.tasks["drugs"]
    if name == "task":  # the copy of a run that was stopped
        about = About(1, (first["note"],), steps=4, rows=1)
        task.runs.append(Run.made(task.places.runs / "1", about, task.places))
        locked_away.add(name)
    else:
        refuse_to_write(monkeypatch, name)
    error = page.delete(f"/tasks/drugs/notes/{first['note']}", 409)
    assert error["code"] == "not_removed"
    assert error["message"].startswith(f"{page.folder / 'drugs'}: notes: could not be removed")
    assert error["message"].endswith("then remove them again")
    assert first["note"] in {one["note"] for one in page.get("/tasks/drugs/notes")["notes"]}
    locked_away.clear()
    monkeypatch.undo()
    page.delete(f"/tasks/drugs/notes/{first['note']}")
    assert not [path for path in holding(page.folder) if first["text"] in path.read_text()]


def refuse_to_write(monkeypatch, name):
    """Refuse to put a draft into the place of a file."""
    replace = Path.replace

    def refuse(path, target):
        if Path(target).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)


def test_folders_are_moved_away_together_or_not_at_all(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    (tmp_path / ".other.removed").write_text("a file, which no folder replaces")
    with pytest.raises(OSError, match="Not a directory"):
        move_away([one, other])
    assert one.is_dir()
    assert other.is_dir()
