"""Make corrections in a workspace as a client of the server does, and go on after a fault.

A client repeats what failed. After a restart it goes on behind the last thing that was
acknowledged; the one that was in flight may have happened or not, but not by half.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from disk import Disk

from clinprompt.backbone.load import load_backbone
from clinprompt.errors import ClinpromptError
from clinprompt.serving.teaching.new_card import NewTask
from clinprompt.serving.teaching.notes import NewNote
from clinprompt.serving.teaching.opening import open_tasks, recipe_of
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.serving.teaching.workspace import TaughtTasks

_NAME = "drugs"
_DRUGS = ("aspirin", "insulin", "metformin", "warfarin", "lisinopril", "heparin")
_Do = Callable[[TaughtTasks, float], object]


def _make(tasks: TaughtTasks, time: float) -> None:
    tasks.make(NewTask(_NAME, "ner", (("DRUG", ""),)), taken=())


def _add(tasks: TaughtTasks, time: float) -> None:
    notes = [NewNote(drug, {"text": f"Takes {drug} daily."}) for drug in _DRUGS]
    tasks[_NAME].notes.add(notes)


def _offer(tasks: TaughtTasks, time: float) -> None:
    task = tasks[_NAME]
    choice, served = task.choose("random", {}), task.prompts.served
    assert choice is not None
    assert served is not None
    task.offer(choice, "random", {"entities": []}, digest=served.digest, time=time)


def _correct(tasks: TaughtTasks, time: float) -> None:
    task = tasks[_NAME]
    number = _last_offered(task)
    end = len(task.notes[number].fields["text"]) - len(" daily.")
    task.correct(number, {"entities": [{"start": 6, "end": end, "type": "DRUG"}]}, time=time)


def _skip(tasks: TaughtTasks, time: float) -> None:
    tasks[_NAME].skip(_last_offered(tasks[_NAME]), time=time)


def _undo(tasks: TaughtTasks, time: float) -> None:
    tasks[_NAME].undo(time=time)


def _remove(tasks: TaughtTasks, time: float) -> None:
    task = tasks[_NAME]
    first = min(task.notes, key=lambda note: note.rank)  # was offered and corrected first
    task.remove([first.number])


def _last_offered(task: TaughtTask) -> int:
    return task.corrections.open_offers()[0].note


STEPS: tuple[_Do, ...] = (
    *(_make, _add, _offer, _correct, _offer, _skip, _undo, _correct),
    *(_offer, _correct, _undo, _correct, _remove, _offer, _correct),
)
_OF_SEVERAL_FILES = (_make, _remove)  # these may be half done, and are completed when repeated


def run(folder: Path, *, model: Path, metaprompt: Path) -> None:
    """Do all steps that were not acknowledged yet, in the workspace in a folder.

    What was acknowledged is in a file beside the folder, with a digest of the state after each
    step; those of a run without a fault are in ``whole.states``.
    """
    backbone = load_backbone(str(model), device="cpu")
    recipe = recipe_of(str(metaprompt), [f"backbone={model}", "device=cpu"])
    work = folder / "work"
    tasks = open_tasks(work, work / "store", backbone, recipe)
    states, whole = folder.with_suffix(".states"), folder.with_name("whole.states")
    done = states.read_text().split() if states.is_file() else []
    if whole.is_file() and states != whole:
        done = _with_step_in_flight(done, whole.read_text().split(), digest(work))
    for number in range(len(done), len(STEPS)):
        _do(STEPS[number], tasks, float(number))
        done.append(digest(work))
        states.write_text("\n".join(done))


def _do(step: _Do, tasks: TaughtTasks, time: float) -> None:
    """Do a step; if the disk fails, do it again after it was mended."""
    try:
        step(tasks, time)
    except (ClinpromptError, OSError):
        if Disk.installed is None or not Disk.installed.has_failed:
            raise
        Disk.installed.mend()
        step(tasks, time)


def _with_step_in_flight(done: list[str], whole: list[str], now: str) -> list[str]:
    """Return what is done, with the step that was not acknowledged if it happened.

    ``train.jsonl`` is written from the log of corrections. A correction is acknowledged even if
    this file cannot be written; the file is written when the workspace is opened again.
    """
    number = len(done)
    if whole[number : number + 1] == [now]:
        return [*done, now]
    if number == len(STEPS) or STEPS[number] not in _OF_SEVERAL_FILES:
        assert now in (done[-1], whole[number - 1]), f"step {number} is half done"
    return done


def digest(work: Path) -> str:
    """Return a digest of all visible files of a workspace; incomplete lines do not count."""
    found = {}
    for path in sorted(work.rglob("*")):
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(work).parts):
            content = path.read_bytes()
            if path.suffix == ".jsonl":
                content = content[: content.rfind(b"\n") + 1]
            if content:  # a file whose only line is incomplete counts as none
                found[str(path.relative_to(work))] = hashlib.sha256(content).hexdigest()
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
