"""Keep what an adaptation trains on and what became of it. Owns ``runs/``; starts nothing.

A run has a copy of the task as it was when the run was started, so it can go on after it was
stopped, whatever was corrected since. The copy is removed when the run is done.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clinprompt.errors import RunError
from clinprompt.files import remove_folder, write_bytes, write_text
from clinprompt.serving.teaching.child import Outcome
from clinprompt.serving.teaching.places import ABOUT, CARD, Places, make_private
from clinprompt.tasks.card import read_card
from clinprompt.training.runlog import RunLog

State = Literal["running", "stopped", "failed", "done"]
OUTCOME, RUN = "outcome.json", "run"  # in the folder of a run: what came of it, and the run itself
_TASK = "task"


@dataclass(frozen=True, slots=True)
class About:
    """What a run trains on: the notes, and how many rows these give.

    ``left_out`` rows have too long an answer. ``seconds`` are those that it has taken; ``steps`` is
    the number of all steps.
    """

    number: int
    notes: tuple[int, ...]
    steps: int = 0
    rows: int = 0
    left_out: int = 0
    state: State = "stopped"
    seconds: float = 0.0
    message: str = ""


def read_about(folder: Path) -> About:
    """Return what a run trains on, and what became of it.

    Raises:
        RunError: the folder is damaged.
    """
    try:
        values: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        return About(**{**values, "notes": tuple(values["notes"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{folder}: is damaged; delete this folder") from error


def write_about(folder: Path, about: About) -> None:
    """Write what a run trains on, and what became of it.

    Raises:
        RunError: it cannot be written.
    """
    write_text(folder / ABOUT, json.dumps(asdict(about)) + "\n", is_private=True)


def copy_of(folder: Path) -> Places:
    """Return where a run has its copy of the task."""
    return Places(folder / _TASK)


def copy_task(folder: Path, places: Places) -> None:
    """Make the folder of a run, with a copy of the task.

    Raises:
        RunError: the copy cannot be written.
    """
    for one in (folder.parent, folder, copy_of(folder).folder):
        make_private(one)
    for source, target in _copied(folder, places):
        if source.is_file():  # one that is missing is named when the copy is read
            write_bytes(target, source.read_bytes(), is_private=True)


def is_copied(folder: Path, places: Places) -> bool:
    """Return whether the copy is of the task as it is now."""
    return all(
        one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
        for one, other in _copied(folder, places)
    )


def _copied(folder: Path, places: Places) -> list[tuple[Path, Path]]:
    """Return the files of the task that a run trains on, each with its copy."""
    names = [name.partition("!")[0] for name in read_card(places.card).files.train]
    inside = [name for name in names if Path(name).name == name]
    return [(places.folder / one, copy_of(folder).folder / one) for one in (CARD, *inside)]


def remove_copy(folder: Path) -> None:
    """Remove what a run needs to go on: the copy of the task, and what it has trained.

    Raises:
        NotRemovedError: a file cannot be removed.
    """
    for name in (_TASK, f"{RUN}/store", f"{RUN}/checkpoints"):
        remove_folder(folder / name, then="try again")


def read_outcome(folder: Path) -> Outcome:
    """Return what came of a run; nothing if its process did not say it."""
    path = folder / OUTCOME
    return Outcome.model_validate_json(path.read_bytes()) if path.is_file() else Outcome()


def seconds_of_steps(folder: Path) -> Sequence[float]:
    """Return how long each training step took that is done, in seconds."""
    try:
        rows = RunLog(folder / RUN / "metrics.jsonl").rows()
    except RunError:
        return ()
    return [row["seconds"] for row in rows if "seconds" in row]
