"""Fill the grid of a comparison with several processes on this machine.

On two cores, two processes with one thread each are faster than one with two. The processes share
the folder of the comparison, as processes on several machines would.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from operator import methodcaller
from pathlib import Path
from queue import Empty
from threading import Thread
from typing import NoReturn

import torch

from clinprompt.errors import ClinpromptError, RunError, place_of
from clinprompt.jobs.comparison.compare import compare
from clinprompt.jobs.fit_method import steps_of
from clinprompt.methods.table import method_of
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.suite import find_suite
from clinprompt.training.progress import Reporter
from clinprompt.training.runlog import RunLog

_SECONDS_BETWEEN_CHECKS = 1.0


@dataclass(frozen=True, slots=True)
class _Event:
    """What a process did: a call of its reporter, or its end, with the error that ended it."""

    process: int
    call: methodcaller | None = None
    error: ClinpromptError | None = None


@dataclass(frozen=True, slots=True)
class _Sender:
    """The reporter of a process: it sends all calls to the process that shows them."""

    process: int
    events: "Queue[_Event]"

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start a phase."""
        self._send(methodcaller("begin", what, total=total, done=done))

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:
        """Count one more step."""
        self._send(methodcaller("advance", loss=loss, tokens_per_second=tokens_per_second))

    def say(self, message: str) -> None:
        """Report a message of one line."""
        self._send(methodcaller("say", message))

    def _send(self, call: methodcaller) -> None:
        self.events.put(_Event(self.process, call))


def steps_in_all(folder: Path, config: RunConfig) -> tuple[int, int]:
    """Return how many training steps a comparison without variants takes, and how many are done."""
    suite, compared = find_suite(config.suite), config.compare
    of_one_draw = sum(
        steps_of(
            method, config.at(shots).adapt, config.data.train_rows if shots == "all" else shots
        )
        for shots in compared.shots
        for method in map(method_of, compared.methods)
        if method.trains != "nothing"
    )
    fits = len(compared.targets or suite.targets) * len(compared.seeds)
    learned = len(suite.sources) * config.teacher.steps + config.distill.steps
    on_sources = 0 if config.metaprompt else learned
    done = sum("loss" in row for row in RunLog(folder / "metrics.jsonl").rows())
    return on_sources + of_one_draw * fits, done


def fill_in_processes(
    folder: Path,
    config: RunConfig,
    *,
    reporters: Sequence[Reporter],
    num_threads: int,
) -> None:
    """Compute the missing cells of a comparison, in one process for each reporter.

    Each process uses ``num_threads``. The results are those of one process with as many threads.
    If this process ends or is interrupted, so are the others; the same call continues.

    Raises:
        ClinpromptError: a setting, task, file or backbone is not usable, or a process was killed.
    """
    context = get_context("spawn")
    events: Queue[_Event] = context.Queue()
    processes = [
        context.Process(
            target=_compute,
            args=(folder, config, _Sender(number, events), num_threads),
            daemon=True,
        )
        for number in range(len(reporters))
    ]
    try:
        for process in processes:
            process.start()
        _relay(events, processes, reporters)
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _relay(
    events: "Queue[_Event]", processes: Sequence[SpawnProcess], reporters: Sequence[Reporter]
) -> None:
    """Pass the calls of all processes to their reporters until every process has ended."""
    running = set(range(len(processes)))
    while running:
        killed = [number for number in running if processes[number].exitcode]
        try:
            event = events.get(timeout=_SECONDS_BETWEEN_CHECKS)
        except Empty:
            if killed:
                raise RunError(
                    f"process {killed[0] + 1} of {len(processes)} was ended from outside (exit "
                    f"code {processes[killed[0]].exitcode}), perhaps for lack of memory; run the "
                    "same command again to continue"
                ) from None
            continue
        if event.error:
            raise event.error
        if event.call:
            event.call(reporters[event.process])
        else:
            running.remove(event.process)


def _compute(folder: Path, config: RunConfig, sender: _Sender, num_threads: int) -> None:
    """Compute cells in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    signal.signal(signal.SIGTERM, _exit)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(num_threads)
    error: ClinpromptError | None = None
    try:
        compare(folder, config, mirror=None, command=None, reporter=sender)
    except ClinpromptError as raised:
        error = raised
    except Exception as raised:  # multiprocessing would print its message, which may hold a record
        error = RunError(
            f"process {sender.process + 1} failed: {place_of(raised)}; the message is left out, as "
            "it may hold text of a record. Please report this"
        )
    sender.events.put(_Event(sender.process, error=error))


def _exit(number: int, _: object) -> NoReturn:
    """Exit by an exception, so that a checkpoint is written and half-written files are removed."""
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, even if that was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
