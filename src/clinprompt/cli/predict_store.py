"""Answer many tasks of a store about many notes: show the progress, then what was answered."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from clinprompt.cli.screen import Bar, answer_bar, complaints, continued_after_stop, duration, say
from clinprompt.errors import SettingError, number_of

if TYPE_CHECKING:
    from clinprompt.jobs.batch.folder import Summary
    from clinprompt.jobs.batch.run import BatchRequest, Engine


def predict_store(request: "BatchRequest", engine: "Engine | None") -> None:
    """Answer a request with an engine, and print what was answered and which rows have errors."""
    from clinprompt.jobs.batch.run import answer_batch

    with continued_after_stop(request.output, option="--output"), answer_bar() as bar:
        summary = answer_batch(request, AnswerProgress(bar, monotonic), engine)
    _show(summary, request.output)


def engine_of(word: str, num_workers: int, address: str) -> "Engine | None":
    """Return the engine of a word; None: this process answers.

    Raises:
        SettingError: there is no such engine, or it cannot be used.
    """
    match word:
        case "plain":
            return None
        case "ray":
            from clinprompt.jobs.batch.ray_engine import ray_engine

            return ray_engine(num_workers=num_workers, address=address)
    raise SettingError(f"no engine {word!r}; known: plain, ray")


class AnswerProgress:
    """The progress of a batch: a bar, or without a terminal a line for each tenth of the answers.

    Both show the time left.
    """

    def __init__(self, bar: Bar, clock: Callable[[], float]) -> None:
        self._bar, self._clock = bar, clock
        self._started = 0.0
        self._total = self._at_start = self._done = self._tenths = 0

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start with ``done`` of ``total`` answers."""
        self._bar.begin(what, total=total, done=done)
        self._started, self._total = self._clock(), total
        self._at_start = self._done = done
        self._tenths = 10 * done // max(total, 1)

    def advance(self, count: int, /) -> None:
        """Count more answers."""
        self._bar.advance(count)
        self._done += count
        tenths = 10 * self._done // self._total
        if tenths > self._tenths and not self._bar.is_on_terminal:
            self._tenths = tenths
            spent = self._clock() - self._started
            left = spent * (self._total - self._done) / (self._done - self._at_start)
            self.say(f"{self._done:,} of {self._total:,} answers, about {duration(left)} left")

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.say(message)


def _show(summary: "Summary", folder: Path) -> None:
    notes, answers = number_of(summary.num_notes, "note"), number_of(summary.num_answers, "answer")
    say(f"{notes}, {answers}: {folder}")
    if not summary.num_errors:
        return
    rows = number_of(summary.num_errors, "row has", "rows have")
    say(f"{rows} an error instead of an answer:", screen=complaints)
    for row in summary.first_errors:
        task = f", {row['task']}" if "task" in row else ""
        say(f"  note {row['line']}{task}: {row['error']}", screen=complaints)
    if summary.num_errors > len(summary.first_errors):
        say("  ...", screen=complaints)
