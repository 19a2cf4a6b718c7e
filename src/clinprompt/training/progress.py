"""Show how far a run is: as a bar in a terminal, or not at all. Knows nothing of the run."""

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
    """What a long job tells of itself."""

    def begin(self, phase: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` steps, ``done`` of which are finished already."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Count one more step."""

    def say(self, message: str) -> None:
        """Tell something worth a line."""


class Silent:
    """Tell nothing."""

    def begin(self, phase: str, *, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""


class Bar:
    """A bar for the phase that runs: steps, loss, tokens a second, time left."""

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
        """Start a phase of ``total`` steps, ``done`` of which are finished already."""
        if self._phase is not None:
            self._bar.remove_task(self._phase)
        self._phase = self._bar.add_task(phase, total=total, completed=done, state="")

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Count one more step."""
        assert self._phase is not None
        state = f"loss {loss:.3f}  {tokens_per_second:.0f} tok/s"
        self._bar.update(self._phase, advance=1, state=state)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(message, highlight=False, markup=False)
