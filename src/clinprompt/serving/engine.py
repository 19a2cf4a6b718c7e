"""Answer questions of many clients in one thread, which owns the running batch.

Holds mutable state: the scheduler, and the jobs that it works on. Other threads put work into the
inbox and wait for futures.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Scheduler
from clinprompt.errors import ClinpromptError
from clinprompt.evaluation.questions import Prediction, Question

log = logging.getLogger("clinprompt.serving")


class QueueFullError(ClinpromptError):
    """Signal that as many rows wait or are being answered as the limit allows."""


class StoppedError(ClinpromptError):
    """Signal that the server is shutting down, or failed on the batch of this request."""


@dataclass(slots=True, eq=False)
class Job:
    """A question on its way. ``future`` gets its answer; ``on_token`` is called as it is written.

    ``on_token`` runs in the thread of the engine and must return at once.
    """

    question: Question
    on_token: Callable[[], object] | None = None
    future: "Future[Prediction]" = field(default_factory=Future)

    @property
    def num_rows(self) -> int:
        """Return the number of rows, one for each part of the input."""
        return len(self.question.asks)


class Engine:
    """One thread that answers questions, first come first served."""

    def __init__(self, backbone: Backbone, *, max_rows: int) -> None:
        """Prepare to answer; ``max_rows`` limits the rows that wait or are being answered."""
        self._backbone, self._max_rows = backbone, max_rows
        self._scheduler = Scheduler(backbone)
        self._jobs: dict[int, Job] = {}  # by the id of each of its rows
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._num_rows, self._lock = 0, Lock()
        self._is_stopping = False
        self.num_tokens_read = self.num_tokens_written = self.num_failures = 0
        self._thread = Thread(target=self._run, name="clinprompt-engine", daemon=True)

    @property
    def num_rows(self) -> int:
        """Return the number of rows that wait or are being answered."""
        return self._num_rows

    @property
    def num_active(self) -> int:
        """Return the number of rows being written."""
        return self._scheduler.num_active

    @property
    def is_running(self) -> bool:
        """Return whether the thread works."""
        return self._thread.is_alive() and not self._is_stopping

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what was submitted, and end the thread."""
        self._is_stopping = True
        self._inbox.put(None)
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Add questions, all or none.

        Raises:
            QueueFullError: the limit on rows would be exceeded.
            StoppedError: the engine is stopping.
        """
        if self._is_stopping:
            raise StoppedError("the server is shutting down")
        added = sum(job.num_rows for job in jobs)
        with self._lock:
            if self._num_rows + added > self._max_rows:
                raise QueueFullError(
                    f"{self._num_rows} rows wait or are being answered and this request has "
                    f"{added}; the limit is {self._max_rows}: try again later"
                )
            self._num_rows += added
        for job in jobs:
            self._inbox.put(partial(self._accept, job))

    def cancel(self, job: Job) -> None:
        """Stop answering a question; its rows are free."""
        self._inbox.put(partial(self._cancel, job))

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Call a function between two steps, such as one that runs the model."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._inbox.put(run)
        return future

    def _run(self) -> None:
        while True:
            try:
                received = self._inbox.get(block=self._scheduler.is_idle)
            except Empty:
                self._step()
                continue
            if received is not None:
                received()
            elif self._scheduler.is_idle and self._inbox.empty():
                return
            else:
                self._step()
                self._inbox.put(None)  # work is left: look again after this step

    def _step(self) -> None:
        try:
            finished = self._scheduler.step()
        except Exception as error:
            self._fail(error)
            return
        self.num_tokens_written += self._scheduler.num_active
        for ask in finished:
            job = self._jobs.pop(id(ask))
            self._free(1)
            if all(one.is_done for one in job.question.asks):
                self._answer(job)
        for job in {id(job): job for job in self._jobs.values() if job.on_token}.values():
            assert job.on_token is not None
            job.on_token()

    def _accept(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            self._free(job.num_rows)
            return
        for ask in job.question.asks:
            self._jobs[id(ask)] = job
            self.num_tokens_read += len(ask.row.input_ids)
            self._scheduler.submit(ask)

    def _answer(self, job: Job) -> None:
        try:
            job.future.set_result(job.question.prediction())
        except Exception as error:
            self.num_failures += 1
            job.future.set_exception(StoppedError(_place_of(error)))

    def _cancel(self, job: Job) -> None:
        is_open = False
        for ask in job.question.asks:
            if self._jobs.pop(id(ask), None):
                self._scheduler.cancel(ask)
                self._free(1)
                is_open = True
        if is_open:
            job.future.set_exception(StoppedError("canceled"))

    def _fail(self, error: Exception) -> None:
        """Fail all questions of a batch that could not be answered, and start a new batch."""
        self.num_failures += 1
        log.error("a step failed: %s", _place_of(error))
        jobs = {id(job): job for job in self._jobs.values()}.values()
        self._free(len(self._jobs))
        self._jobs.clear()
        self._scheduler = Scheduler(self._backbone)
        for job in jobs:
            job.future.set_exception(StoppedError(_place_of(error)))

    def _free(self, count: int) -> None:
        with self._lock:
            self._num_rows -= count


def _place_of(error: BaseException) -> str:
    """Return where an error was raised, without its message, which may hold text of a record."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown place"
    return f"{type(error).__name__} in {place}"
