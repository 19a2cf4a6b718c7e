"""Answer questions of many clients in one thread, which owns the running batch.

Holds mutable state: the scheduler, and the jobs that it works on. Other threads put work into the
inbox and wait for futures.

A server should compute in this thread alone (``leave_cores_to_engine``): OpenMP keeps a team of
threads for each thread that has ever computed on several cores. If all teams together have more
threads than there are cores, the threads of each team sleep between two computations instead of
waiting awake, and the server answers a quarter fewer requests.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

import torch

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Scheduler
from clinprompt.errors import ClinpromptError, number_of, place_of
from clinprompt.evaluation.questions import Prediction, Question

_PATIENCE = 4  # steps that a row waits for others; 15 to 20 % more answers with 16 clients

log = logging.getLogger("clinprompt.serving")


def leave_cores_to_engine() -> int:
    """Let this thread compute on one core from now on; return the cores that it used before."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    return count


class QueueFullError(ClinpromptError):
    """Signal that as many rows wait or are being answered as the limit allows."""


class TooManyRowsError(ClinpromptError):
    """Signal that one request has more rows than the limit."""


class StoppedError(ClinpromptError):
    """Signal that questions are not accepted: the server shuts down, or its engine has ended."""


class FailedError(ClinpromptError):
    """Signal that the batch of a question failed, or that it was canceled."""


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

    def __init__(self, backbone: Backbone, *, max_rows: int, num_cores: int | None = None) -> None:
        """Prepare to answer; ``max_rows`` limits the rows that wait or are being answered.

        ``num_cores`` are those that the thread computes on; None: as PyTorch is set.
        """
        self._backbone, self._max_rows, self._num_cores = backbone, max_rows, num_cores
        self._scheduler = Scheduler(backbone, patience=_PATIENCE)
        self._jobs: dict[int, Job] = {}  # by the id of each of its rows
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._num_rows, self._lock = 0, Lock()
        self._is_stopping = self._has_ended = False
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
        return self._thread.is_alive() and not (self._is_stopping or self._has_ended)

    @property
    def is_full(self) -> bool:
        """Return whether no further row can be accepted now."""
        return self._num_rows >= self._max_rows

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
            TooManyRowsError: these questions alone exceed it.
            StoppedError: the engine is stopping or has ended.
        """
        added = sum(job.num_rows for job in jobs)
        if added > self._max_rows:
            raise TooManyRowsError(
                f"this request has {added} rows, one for each task and part of the text; the limit "
                f"is {self._max_rows}: send fewer tasks or a shorter text"
            )
        with self._lock:
            self._check_runs()
            if self._num_rows + added > self._max_rows:
                rows = number_of(self._num_rows, "row waits or is", "rows wait or are")
                raise QueueFullError(
                    f"{rows} being answered and this request has {added}; the limit is "
                    f"{self._max_rows}: try again later"
                )
            self._num_rows += added
            for job in jobs:
                self._inbox.put(partial(self._accept, job))

    def cancel(self, job: Job) -> None:
        """Stop answering a question; its rows are free."""
        self._inbox.put(partial(self._cancel, job))

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Call a function between two steps, such as one that runs the model.

        Raises:
            StoppedError: the engine is stopping or has ended.
        """
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            self._check_runs()
            self._inbox.put(run)
        return future

    def _check_runs(self) -> None:
        if self._is_stopping:
            raise StoppedError("the server is shutting down")
        if self._has_ended:
            raise StoppedError("the engine has ended; see the server's log and start it again")

    def _run(self) -> None:
        if self._num_cores is not None:
            torch.set_num_threads(self._num_cores)
        try:
            self._work()
        except BaseException as error:
            log.critical("the engine has ended: %s", place_of(error))
            with self._lock:
                self._has_ended = True
            self._abandon(error)
            while not self._inbox.empty():
                if received := self._inbox.get():
                    received()  # fails at once

    def _work(self) -> None:
        while True:
            try:
                received = self._inbox.get(block=self._scheduler.is_idle)
            except Empty:
                self._attempt(self._step)
                continue
            if received is not None:
                self._attempt(received)
            elif self._scheduler.is_idle and self._inbox.empty():
                return
            else:
                self._attempt(self._step)
                self._inbox.put(None)  # work is left: look again after this step

    def _attempt(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self._fail(error)

    def _step(self) -> None:
        finished = self._scheduler.step()
        self.num_tokens_written += self._scheduler.num_active
        # Several rows of a question may be finished in one step, but it has one answer.
        jobs = dict.fromkeys(self._jobs.pop(id(ask)) for ask in finished)
        self._free(len(finished))
        for job in jobs:
            if all(one.is_done for one in job.question.asks):
                self._answer(job)
        for job in {id(job): job for job in self._jobs.values() if job.on_token}.values():
            assert job.on_token is not None
            job.on_token()

    def _accept(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            self._free(job.num_rows)
            return
        if self._has_ended:
            self._free(job.num_rows)
            job.future.set_exception(FailedError("the engine has ended; see the server's log"))
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
            log.error("an answer failed: %s", place_of(error))
            job.future.set_exception(FailedError(place_of(error)))

    def _cancel(self, job: Job) -> None:
        is_open = False
        for ask in job.question.asks:
            if self._jobs.pop(id(ask), None):
                self._scheduler.cancel(ask)
                self._free(1)
                is_open = True
        if is_open:
            job.future.set_exception(FailedError("canceled"))

    def _fail(self, error: Exception) -> None:
        """Fail all questions of a batch that could not be answered, and start a new batch."""
        self.num_failures += 1
        log.error("a step failed: %s", place_of(error))
        self._abandon(error)
        self._scheduler = Scheduler(self._backbone, patience=_PATIENCE)

    def _abandon(self, error: BaseException) -> None:
        jobs = {id(job): job for job in self._jobs.values()}.values()
        self._free(len(self._jobs))
        self._jobs.clear()
        for job in jobs:
            job.future.set_exception(FailedError(place_of(error)))

    def _free(self, count: int) -> None:
        with self._lock:
            self._num_rows -= count
