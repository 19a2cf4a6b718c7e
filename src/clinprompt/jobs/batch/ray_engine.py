"""Answer the chunks of a batch by workers of Ray, each a process with a backbone of its own.

Only numbers of chunks go through Ray. A worker reads its notes from the input and writes its rows
to the folder of the batch itself, so no text of a note is in Ray's files and logs. Each worker has
one chunk at a time. If its process ends, the chunk goes to another worker, and a new one starts.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from clinprompt.errors import ClinpromptError, RunError, SettingError, place_of, trace_of
from clinprompt.jobs.batch.ray_cluster import (
    num_useful_workers,
    ray_of,
    require_ray,
    share_of_worker,
)
from clinprompt.jobs.batch.run import Batch, Engine, answer_or_skip, tasks_of
from clinprompt.jobs.note_files import RawNote
from clinprompt.jobs.task_table import ServedTask

_MAX_ENDS = 3  # of workers on one chunk, or before they have a chunk
_LOADING = -1  # in place of the number of a chunk


def ray_engine(*, num_workers: int = 0, address: str = "") -> Engine:
    """Return the engine that answers with ``num_workers`` workers of Ray.

    Without ``address``, Ray runs on this machine only, until the batch is answered. With the
    address of a cluster, its machines need this package and the same files at the same places.
    Without ``num_workers``, there is one for each GPU, or for each machine if there is no GPU.

    Raises:
        SettingError: ray is not installed.
    """
    require_ray()
    return partial(_answer, num_workers=num_workers, address=address)


def _answer(batch: Batch, *, num_workers: int, address: str) -> None:
    """Answer all chunks, or wait until other processes have answered them."""
    device = batch.request.device
    if ":" in device:
        raise SettingError(
            f"--device {device} has no effect with --engine ray, which gives each worker a GPU; "
            f"use --device {device.partition(':')[0]}"
        )
    missing = batch.missing()
    if not missing:
        return
    with ray_of(address, num_workers=num_workers) as ray:
        number = num_workers or num_useful_workers(ray, device)
        share = share_of_worker(ray, number, device, is_own=not address)
        crew = _Crew(ray, batch, share)
        crew.hire(number)
        batch.begin(missing)
        held = crew.answer(missing, waits=False)
        crew.answer(held, waits=True)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where a worker failed. The message of the error is left out: it may hold text of a note."""

    place: str
    trace: str


_Outcome = bool | ClinpromptError | _Failure


class _Crew:
    """The workers of a batch: those that have nothing to do, and what the others do."""

    def __init__(self, ray: ModuleType, batch: Batch, share: dict[str, float]) -> None:
        self._ray, self._batch = ray, batch
        self._worker = ray.remote(**share)(ChunkWorker)
        self._idle: deque[Any] = deque()
        self._busy: dict[Any, tuple[Any, int]] = {}  # by reference: a worker and its chunk
        self._ends: Counter[int] = Counter()  # of workers, by chunk

    def hire(self, number: int) -> None:
        """Start workers, which load their backbone first."""
        unshown = replace(self._batch, progress=_Unshown())
        for _ in range(number):
            worker = self._worker.remote(unshown, str(Path.cwd()))
            self._busy[worker.load.remote()] = (worker, _LOADING)

    def answer(self, chunks: Sequence[int], *, waits: bool) -> list[int]:
        """Answer chunks; return those that other processes hold, unless it ``waits`` for them."""
        left, held = deque(chunks), []
        while left or any(chunk != _LOADING for _, chunk in self._busy.values()):
            while left and self._idle:
                worker, chunk = self._idle.popleft(), left.popleft()
                self._busy[worker.answer.remote(chunk, waits)] = (worker, chunk)
            chunk, outcome = self._next()
            if chunk == _LOADING:
                continue
            if outcome is None:
                left.appendleft(chunk)
            elif outcome:
                self._batch.counted.add(chunk)
                self._batch.progress.advance(self._batch.num_answers(chunk))
            else:
                held.append(chunk)
        return held

    def _next(self) -> tuple[int, bool | None]:
        """Wait for a worker; return its chunk and whether it is answered; None: it has ended."""
        [reference], _ = self._ray.wait(list(self._busy), num_returns=1)
        worker, chunk = self._busy.pop(reference)
        try:
            outcome: _Outcome = self._ray.get(reference)
        except self._ray.exceptions.RayActorError:
            self._replace_on(chunk)
            return chunk, None
        if isinstance(outcome, ClinpromptError):
            raise outcome
        if isinstance(outcome, _Failure):
            self._batch.progress.say(outcome.trace)
            raise RuntimeError(f"a worker failed: {outcome.place}")
        self._idle.append(worker)
        return chunk, outcome

    def _replace_on(self, chunk: int) -> None:
        """Start a new worker in place of one that has ended."""
        self._ends[chunk] += 1
        if self._ends[chunk] == _MAX_ENDS:
            what = "loading the backbone" if chunk == _LOADING else f"chunk {chunk + 1}"
            raise RunError(
                f"{_MAX_ENDS} workers ended during {what}; if memory is short, use fewer --workers "
                "or a smaller --notes-per-chunk"
            )
        self.hire(1)


class ChunkWorker:
    """A backbone with the tasks of a batch. It runs in a process of Ray."""

    def __init__(self, batch: Batch, folder: str) -> None:
        """Start in the ``folder`` that relative paths of the batch begin at."""
        os.chdir(folder)
        self._batch = batch
        self._tasks: list[ServedTask] = []
        self._chunks: Iterator[tuple[int, list[RawNote]]] = iter(())
        self._last = -1

    def load(self) -> _Outcome:
        """Load the backbone and the prompts."""
        return _outcome(self._load)

    def answer(self, chunk: int, waits: bool) -> _Outcome:
        """Answer a chunk; return False if another process holds it."""
        return _outcome(partial(self._answer, chunk, waits))

    def _load(self) -> bool:
        self._tasks = tasks_of(self._batch.request)
        return True

    def _answer(self, chunk: int, waits: bool) -> bool:
        answer_or_skip(self._batch, self._tasks, chunk, self._notes_of(chunk), waits)
        return chunk in self._batch.counted

    def _notes_of(self, chunk: int) -> list[RawNote]:
        """Return the notes of a chunk; the input is read on unless an earlier chunk comes back."""
        if chunk <= self._last:
            self._last = -1
        if self._last < 0:
            self._chunks = enumerate(self._batch.chunks())
        self._last = chunk
        return next(notes for number, notes in self._chunks if number == chunk)


class _Unshown:
    """The progress in a worker, which counts nothing."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start a phase."""

    def advance(self, count: int, /) -> None:
        """Count more answers."""

    def say(self, message: str) -> None:
        """Report a message of one line."""


def _outcome(work: Callable[[], bool]) -> _Outcome:
    """Return what a piece of work returns, or why it failed: Ray logs errors that are raised."""
    try:
        return work()
    except ClinpromptError as error:
        return error
    except Exception as error:
        return _Failure(place_of(error), trace_of(error))
