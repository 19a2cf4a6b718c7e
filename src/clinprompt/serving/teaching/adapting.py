"""Run the adaptations of a task, each in a process of its own. Owns the process.

A run can go on after it was stopped, whatever was corrected since: see ``run_files``.
"""

import logging
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

from clinprompt.errors import RunError
from clinprompt.files import NotRemovedError, cache_folder, locked, removing
from clinprompt.jobs.before_adapting import Usable
from clinprompt.prompts.artifact import Artifact, load_artifact
from clinprompt.serving.teaching import run_files
from clinprompt.serving.teaching.child import ANOTHER, Order
from clinprompt.serving.teaching.places import ABOUT, Places
from clinprompt.serving.teaching.run_files import OUTCOME, RUN, About
from clinprompt.settings.run import RunConfig

log = logging.getLogger("clinprompt.serving")
_CHILD = "clinprompt.serving.teaching.child"
_ASKED_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM)  # codes of a process, by whomever
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 30  # in which a stopped process writes its checkpoint


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all runs share: the metaprompt, changed settings, and the settings that they give.

    ``reads_instructions`` says whether the model reads the instruction of a card.
    """

    metaprompt: str
    changes: tuple[str, ...]
    config: RunConfig
    reads_instructions: bool


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
        run_files.copy_task(folder, places)
        run_files.write_about(folder, about)
        return cls(folder, about)

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read a run of an earlier server; one that was running then is stopped.

        Raises:
            RunError: the folder is damaged.
        """
        about = run_files.read_about(folder)
        if about.state == "running":
            about = replace(about, state="stopped")
        return cls(folder, about)

    @property
    def copy(self) -> Places:
        """Return where the copy of the task is."""
        return run_files.copy_of(self._folder)

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
        may_go_on = bool(self._about.rows) and self._about.state != "done"
        return may_go_on and run_files.is_copied(self._folder, places)

    def will_use(self, usable: Usable) -> None:
        """Note what the copy gives to train on, and for how many steps.

        Raises:
            RunError: it cannot be written.
        """
        self._change(rows=usable.rows, left_out=usable.left_out, steps=usable.steps)

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
        outcome = self._folder / OUTCOME
        with removing("outcome of the adaptation before", then="start the adaptation again"):
            outcome.unlink(missing_ok=True)
        order = Order(
            task=self.copy.folder.absolute(),
            run=self._folder.absolute() / RUN,
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
        outcome = run_files.read_outcome(self._folder)
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
        run_files.remove_copy(self._folder)

    def try_to_forget_copy(self) -> None:
        """Remove what the run needs to go on; what cannot be removed stays, and is logged."""
        try:
            self.forget_copy()
        except NotRemovedError as error:
            log.warning("%s", error)

    def values(self) -> dict[str, Any]:
        """Return the state of the run for a client."""
        about, spent = self._about, run_files.seconds_of_steps(self._folder)
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

    def _change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of About
        self._about = replace(self._about, **changes)
        run_files.write_about(self._folder, self._about)


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
