"""Report the progress of a job: as a bar in a terminal, or not at all."""

from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


class Reporter(Protocol):
    """Receives the progress of a long job."""

    def begin(self, phase: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` steps, of which ``done`` are already finished."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Count one finished step."""

    def say(self, message: str) -> None:
        """Show a message of one line."""


class Silent:
    """Report nothing."""

    def begin(self, phase: str, *, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""


class Bar:
    """A progress bar of the current phase: steps, loss, tokens per second, time left."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._phase: TaskID | None = None

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, phase: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` steps, of which ``done`` are already finished."""
        if self._phase is not None:
            self._bar.remove_task(self._phase)
        self._phase = self._bar.add_task(phase, total=total, completed=done, state="")

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Count one finished step."""
        assert self._phase is not None
        state = f"loss {loss:.3f}  {tokens_per_second:.0f} tok/s"
        self._bar.update(self._phase, advance=1, state=state)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(message, highlight=False, markup=False)
