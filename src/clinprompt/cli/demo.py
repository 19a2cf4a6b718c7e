"""Run the demo: say what it does, show its progress, its scores and annotated notes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from clinprompt.cli.example_notes import show_example_notes
from clinprompt.cli.score_tables import show_outcome
from clinprompt.cli.screen import console, continued_after_stop, say

if TYPE_CHECKING:
    from clinprompt.settings.run import RunConfig

_NUM_PROCESSES = 2
_STEPS = """\
The whole method on synthetic notes with one frozen language model. It takes about six minutes
on two CPU cores; Ctrl-C stops it and the same command continues.

  1. Train a teacher: a prompt for each of {sources} source tasks.
  2. Distill the teachers into one metaprompt.
  3. Fit it, prompt tuning and LoRA to {targets} new tasks with {shots} examples each; score them.
  4. Annotate a note for each new task.

{processes} processes share the first three steps.
"""


def run_demo(settings: "RunConfig", folder: Path, command: str) -> None:
    """Run the demo in a folder, or continue it, and show its results."""
    cores = _num_cores()
    count = min(_NUM_PROCESSES, cores)
    _say_steps(settings, count)
    with continued_after_stop(folder):
        _fill(settings, folder, count, num_threads=cores // count)
        _show(settings, folder, command)


def _fill(settings: "RunConfig", folder: Path, num_processes: int, *, num_threads: int) -> None:
    """Train and score everything, in several processes."""
    from clinprompt.backbone.stored import locate
    from clinprompt.jobs.comparison.processes import fill_in_processes, steps_in_all

    say("Preparing the language model (half a minute when it is first used) ...")
    locate(settings.backbone)
    with SharedBars(console, *steps_in_all(folder, settings)) as bars:
        reporters = [bars.line(f"{number}:") for number in range(1, num_processes + 1)]
        fill_in_processes(folder, settings, reporters=reporters, num_threads=num_threads)


def _show(settings: "RunConfig", folder: Path, command: str) -> None:
    """Write the report, print the scores, and annotate notes."""
    from clinprompt.jobs.comparison.compare import compare
    from clinprompt.jobs.comparison.example_notes import example_notes
    from clinprompt.methods.table import ADAPT_ALL
    from clinprompt.training.progress import Silent

    say("Writing the report ...")
    outcome = compare(folder, settings, mirror=None, command=command, reporter=Silent())
    show_outcome(outcome, folder)
    if ADAPT_ALL in settings.compare.methods and settings.compare.shots:
        say("")
        show_example_notes(example_notes(folder, settings))


def _num_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say_steps(settings: "RunConfig", num_processes: int) -> None:
    from clinprompt.tasks.suite import find_suite

    suite = find_suite(settings.suite)
    shots = " or ".join(map(str, settings.compare.shots))
    say(
        _STEPS.format(
            sources=len(suite.sources),
            targets=len(settings.compare.targets or suite.targets),
            shots=shots,
            processes=num_processes,
        )
    )


class SharedBars:
    """The progress of several processes: a line for all training steps, and one for each process.

    Where the screen is not a terminal, each phase is a line of text instead.
    """

    def __init__(self, screen: Console, total: int, done: int) -> None:
        self.screen = screen
        self.display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            speed_estimate_period=120,
        )
        self.overall = self.display.add_task("training steps in all", total=total, completed=done)

    def __enter__(self) -> "SharedBars":
        self.display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.display.stop()

    def line(self, name: str) -> "ProcessLine":
        """Return the reporter of a process, which has a line of its own (80 columns suffice)."""
        return ProcessLine(self, name)


class ProcessLine:
    """One line of the shared progress: what a process does right now."""

    def __init__(self, bars: SharedBars, name: str) -> None:
        self._bars, self._name = bars, name
        self._task = bars.display.add_task(f"{name} starting", total=None)

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Show a phase of training of ``total`` steps."""
        shown = f"{self._name} {what}"
        self._bars.display.reset(self._task, description=shown, total=total, completed=done)
        if not self._bars.screen.is_terminal:
            self.say(f"{shown}, {total} steps")

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:  # noqa: ARG002
        """Count one more step of this process, and of all."""
        self._bars.display.advance(self._task)
        self._bars.display.advance(self._bars.overall)

    def say(self, message: str) -> None:
        """Print a line above the progress."""
        say(message, screen=self._bars.screen)
