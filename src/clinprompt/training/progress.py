"""What a long job reports while it runs. Knows nothing of terminals."""

from collections.abc import Callable
from typing import Protocol


class Reporter(Protocol):
    """Where a long job reports its progress."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` steps or answers, of which ``done`` are finished."""

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:
        """Count one more step, or without a loss one more answer."""

    def say(self, message: str) -> None:
        """Report a message of one line."""


class Silent:
    """A reporter that shows nothing."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""


def counting_answers(reporter: Reporter, what: str) -> Callable[[int, int], None]:
    """Return a function that reports a phase: how many answers there are, and of how many."""

    def count(done: int, total: int) -> None:
        if done:
            reporter.advance()
        else:
            reporter.begin(what, total=total)

    return count
