"""What a long job reports while it runs. Knows nothing of terminals."""

from typing import Protocol


class Reporter(Protocol):
    """Where a long job reports its progress."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` steps, of which ``done`` are finished."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Count one more step."""

    def say(self, message: str) -> None:
        """Report a message of one line."""


class Silent:
    """A reporter that shows nothing."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, *, loss: float, tokens_per_second: float) -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""
