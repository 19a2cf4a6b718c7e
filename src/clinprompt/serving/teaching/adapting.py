"""Run the adaptations of a task, each in a process of its own. Owns ``runs/`` and the process.

A run has a copy of the task as it was when the run was started, so it can go on after it was
stopped, whatever was corrected since. The copy is removed when the run is done.
"""

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any, Literal

from clinprompt.errors import RunError
from clinprompt.files import (
    NotRemovedError,
    cache_folder,
    locked,
    remove_folder,
    write_bytes,
    write_text,
)
from clinprompt.jobs.before_adapting import Usable
from clinprompt.methods.table import ADAPT_ALL
from clinprompt.prompts.artifact import Artifact, load_artifact
from clinprompt.serving.teaching.child import ANOTHER, Order, Outcome
from clinprompt.serving.teaching.places import ABOUT, CARD, Places, make_private
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import read_card
from clinprompt.training.runlog import RunLog

log = logging.getLogger("clinprompt.serving")
State = Literal["running", "stopped", "failed", "done"]
_OUTCOME, _TASK, _RUN = "outcome.json", "task", "run"
_CHILD = "clinprompt.serving.teaching.child"
_ASKED_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM)  # codes of a process, by whomever
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 30  # in which a stopped process writes its checkpoint


@dataclass(frozen=True, slots=True)
class About:
    """What a run trains on: the notes, and how many rows these give.

    ``left_out`` rows have too long an answer. ``seconds`` are those that it has taken; ``steps`` is
    the number of all steps.
    """

    number: int
    notes: tuple[int, ...]
    steps: int
    rows: int = 0
    left_out: int = 0
    state: State = "stopped"
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all runs share: the metaprompt, changed settings, and the settings that they give.

    ``reads_instructions`` says whether the model reads the instruction of a card.
    """

    metaprompt: str
    changes: tuple[str, ...]
    config: RunConfig
    reads_instructions: bool

    @property
    def steps(self) -> int:
        """Return the number of training steps."""
        own = self.config.adapt
        return own.method_steps.get(ADAPT_ALL, own.steps)


class AnotherRunError(RunError):
    """Signal that another adaptation is running on this machine."""


def lock_file() -> Path:
    """Return the file that is locked while this user adapts a task on this machine."""
    return cache_folder() / "adapting.lock"


class Run:
    """One adaptation: started, stopped, continued and done."""

    def __init__(self, folder: Path, about: About) -> None:
        self._folder, self._about = folder, about
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @classmethod
    def made(cls, folder: Path, about: About, places: Places) -> "Run":
        """Prepare a run with a copy of the task.

        Raises:
            RunError: the copy cannot be written.
        """
        make_private(folder.parent)
        make_private(folder)
        run = cls(folder, about)
        make_private(run.copy.folder)
        for source, target in run._copied(places):
            if source.is_file():  # one that is missing is named when the copy is read
                write_bytes(target, source.read_bytes(), is_private=True)
        run._save()
        return run

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read a run of an earlier server; one that was running then is stopped.

        Raises:
            RunError: the folder is damaged.
        """
        try:
            values: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
            about = About(**{**values, "notes": tuple(values["notes"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{folder}: is damaged; delete this folder") from error
        if about.state == "running":
            about = replace(about, state="stopped")
        return cls(folder, about)

    @property
    def copy(self) -> Places:
        """Return where the copy of the task is."""
        return Places(self._folder / _TASK)

    @property
    def about(self) -> About:
        """Return what the run trains on, and what became of it."""
        return self._about

    @property
    def is_running(self) -> bool:
        """Return whether its process works, or what came of it is not noted yet."""
        return self._process is not None

    def has_copy_of(self, places: Places) -> bool:
        """Return whether the run goes on if it is started: the task is as it was."""
        return (
            bool(self._about.rows)
            and self._about.state != "done"
            and all(
                one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
                for one, other in self._copied(places)
            )
        )

    def _copied(self, places: Places) -> list[tuple[Path, Path]]:
        """Return the files of the task that it trains on, each with its copy."""
        names = [name.partition("!")[0] for name in read_card(places.card).files.train]
        inside = [name for name in names if Path(name).name == name]
        return [(places.folder / one, self.copy.folder / one) for one in (CARD, *inside)]

    def will_use(self, usable: Usable) -> None:
        """Note what the copy gives to train on.

        Raises:
            RunError: it cannot be written.
        """
        self._change(rows=usable.rows, left_out=usable.left_out)

    def remove(self) -> None:
        """Remove a run that was never started."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, recipe: Recipe) -> None:
        """Start the process, or let it go on where it was stopped.

        Raises:
            AnotherRunError: another adaptation is running on this machine.
            RunError: a file cannot be written.
        """
        lock_file().parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_file(), wait=False) as is_free:
            if not is_free:
                raise AnotherRunError(ANOTHER)
        outcome = self._folder / _OUTCOME
        outcome.unlink(missing_ok=True)
        order = Order(
            task=self._folder.absolute() / _TASK,
            run=self._folder.absolute() / _RUN,
            shots=self._about.rows,
            metaprompt=recipe.metaprompt,
            settings=recipe.changes,
            lock=lock_file().absolute(),
            outcome=outcome.absolute(),
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _CHILD, order.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=0o077,
        )
        self._started = monotonic()
        self._change(state="running", message="")

    def ask_to_stop(self) -> None:
        """Let the process keep what it has trained, and end; ``end`` waits for it."""
        if self._process is not None:
            self._change(state="stopped")
            assert self._process.stdin is not None
            self._process.stdin.close()

    def end(self) -> None:
        """Wait until the process ends; one that was asked to stop is killed after a while."""
        process = self._process
        while process is not None and process.poll() is None:
            is_stopping = self._about.state == "stopped"
            try:
                process.wait(_SECONDS_TO_END if is_stopping else _SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                if is_stopping:
                    process.kill()

    def made_prompt(self) -> Artifact | None:
        """Return the prompt that the process made before it ended; without one, note why.

        Raises:
            ArtifactError: the prompt is damaged.
        """
        assert self._process is not None
        process, self._process = self._process, None
        assert process.stdin is not None
        process.stdin.close()
        self._change(seconds=self._about.seconds + monotonic() - self._started)
        outcome = self._outcome()
        if outcome.prompt:
            return load_artifact(Path(outcome.prompt))
        if process.returncode in _ASKED_TO_END:
            self._change(state="stopped")
        if self._about.state != "stopped":
            self.has_failed(outcome.error or _how_it_ended(process.returncode))
        return None

    def is_kept(self) -> None:
        """Note that the run is done, and remove what it needed to go on."""
        self._change(state="done")
        self.try_to_forget_copy()

    def has_failed(self, message: str) -> None:
        """Note why the run has failed."""
        self._change(state="failed", message=message)

    def forget_copy(self) -> None:
        """Remove what the run needs to go on: the copy of the task, and what it has trained.

        Raises:
            NotRemovedError: a file cannot be removed.
        """
        for name in (_TASK, f"{_RUN}/store", f"{_RUN}/checkpoints"):
            remove_folder(self._folder / name, then="try again")

    def try_to_forget_copy(self) -> None:
        """Remove what the run needs to go on; what cannot be removed stays, and is logged."""
        try:
            self.forget_copy()
        except NotRemovedError as error:
            log.warning("%s", error)

    def values(self) -> dict[str, Any]:
        """Return the state of the run for a client."""
        about, spent = self._about, self._seconds_of_steps()
        step, left = len(spent), about.steps - len(spent)
        seconds = about.seconds + (monotonic() - self._started if self.is_running else 0)
        return {
            "run": about.number,
            "state": about.state,
            "phase": "starting" if not step else "training" if left else "finishing",
            "step": about.steps if about.state == "done" else step,
            "of": about.steps,
            "seconds": round(seconds, 1),
            "seconds_left": round(fmean(spent) * left, 1) if spent else None,
            "corrections": len(about.notes),
            "rows": about.rows,
            "left_out": about.left_out,
            "message": about.message,
        }

    def _seconds_of_steps(self) -> Sequence[float]:
        try:
            rows = RunLog(self._folder / _RUN / "metrics.jsonl").rows()
        except RunError:
            return ()
        return [row["seconds"] for row in rows if "seconds" in row]

    def _outcome(self) -> Outcome:
        path = self._folder / _OUTCOME
        if not path.is_file():
            return Outcome()
        return Outcome.model_validate_json(path.read_bytes())

    def _change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of About
        self._about = replace(self._about, **changes)
        self._save()

    def _save(self) -> None:
        text = json.dumps(asdict(self._about)) + "\n"
        write_text(self._folder / ABOUT, text, is_private=True)


def read_runs(places: Places) -> list[Run]:
    """Return all runs of a task, in order.

    Raises:
        RunError: a folder is damaged.
    """
    folders = [path.parent for path in places.runs.glob(f"*/{ABOUT}")]
    return sorted(map(Run.read, folders), key=lambda run: run.about.number)


def _how_it_ended(code: int) -> str:
    if code < 0:
        return (
            f"the process was killed (signal {-code}), perhaps because memory ran out; free some, "
            "and adapt again: it goes on where it was"
        )
    return f"the process ended with code {code} before it was done; adapt again"
