"""Run a workload in a process whose disk fails once, then again without a fault, and compare.

The parent has imported everything; each trial is a fork of it. A trial is *lost* if the fault ends
the process in something else than an error of ours, if something that was there before is gone, or
if the second run fails or leaves something else than a run without a fault.
"""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from disk import Disk, Fault

from clinprompt.errors import ClinpromptError
from clinprompt.evaluation.cells import read_cells
from clinprompt.training.runlog import RunLog

_DONE, _REFUSED, _MISTAKE = 0, 3, 4  # exit codes of a trial
_OF_LOCKS = {"claims"}
_TIMES = {"train_seconds", "evaluate_seconds", "tokens_per_second", "peak_bytes"}
Left = Mapping[str, object]  # what counts of a folder, by the names of its files


@dataclass(frozen=True)
class Workload:
    """One command that works in a folder: how it runs, and what the folder has before (nothing).

    The same call after a fault must complete the command. ``holds`` raises an error if something
    that was there before is lost. ``exchanges`` is as in ``Disk``.
    """

    run: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda _: None
    holds: Callable[[Path], object] = lambda _: None
    exchanges: bool = True


def left_in(folder: Path) -> Left:
    """Return what counts of a folder: every visible file; logs and cells without times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part[0] == "." or part in _OF_LOCKS for part in name.parts):
            found[str(name)] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.name == "metrics.jsonl":
        rows = RunLog(path).rows()
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    if path.name == "cells.jsonl":
        return [cell.model_dump(exclude=_TIMES) for cell in read_cells(path)]
    return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Point:
    """Where a trial fails: which fault at which operation of which workload, counted from 1."""

    workload: str
    fault: Fault
    at: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial: "" if nothing was lost, else what was."""

    point: Point
    lost: str = ""


def forked(work: Callable[[], object], errors: Path) -> int:
    """Do work in a fork of this process; return its exit code, negative if a signal ended it.

    What it prints, and a traceback if it made a mistake, is in the file ``errors``.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = _MISTAKE
    try:
        stream = os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        work()
        code = _DONE
    except ClinpromptError as error:
        print(f"error: {error}", flush=True)
        code = _REFUSED
    except BaseException:  # the process must end here
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
    raise AssertionError


class Trials:
    """The trials of one workload, each in a folder of its own below ``folder``."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        """Run the workload without a fault; ``names`` are its operations."""
        self._workload, self._folder = workload, folder
        self._prepared = folder / "prepared"
        self._prepared.mkdir(parents=True)
        self._must(lambda: workload.prepare(self._prepared), "prepare")
        whole = self._copy("whole")
        listed = folder / "operations"
        self._must(lambda: self._listed(whole, listed), "run without a fault")
        self.names = listed.read_text().splitlines()
        self._expected: Left = left_in(whole)
        again = self._copy("again")
        self._must(lambda: workload.run(again), "run again")
        if found := difference(self._expected, left_in(again)):
            raise AssertionError(f"two runs without a fault differ: {found}")

    def _must(self, work: Callable[[], object], what: str) -> None:
        errors = self._folder / "errors"
        if code := forked(work, errors):
            raise AssertionError(f"{what}: ended with {code}:\n{errors.read_text()}")

    def _copy(self, name: str) -> Path:
        return shutil.copytree(self._prepared, self._folder / name)

    def _listed(self, folder: Path, listed: Path) -> None:
        disk = Disk(folder, exchanges=self._workload.exchanges)
        disk.install()
        self._workload.run(folder)
        names = disk.names
        listed.write_text("".join(f"{name}\n" for name in names))

    def verdict(self, point: Point) -> Verdict:
        """Try one point."""
        name = f"{point.fault}-{point.at}"
        folder, errors = self._copy(name), self._folder / f"{name}.txt"
        lost = self._lost(point, folder, errors)
        if lost:
            said = errors.read_text()[-2000:] if errors.is_file() else ""
            return Verdict(point, f"{lost}\n{said}")
        shutil.rmtree(folder)
        errors.unlink(missing_ok=True)
        return Verdict(point)

    def _lost(self, point: Point, folder: Path, errors: Path) -> str:
        code = forked(lambda: self._fails(point, folder), errors)
        if code not in (_DONE, _REFUSED, -signal.SIGKILL):
            return f"the fault ended the process with {code}"
        if forked(lambda: self._workload.holds(folder), errors):
            return "what was there before is gone"
        if code := forked(lambda: self._workload.run(folder), errors):
            return f"the second run ended with {code}"
        return difference(self._expected, left_in(folder))

    def _fails(self, point: Point, folder: Path) -> None:
        disk = Disk(folder, point.fault, point.at, exchanges=self._workload.exchanges)
        disk.install()
        self._workload.run(folder)


def difference(expected: Left, found: Left) -> str:
    """Return in words how what a run left differs from what it should have left; "": not."""
    names = sorted(expected.keys() ^ found.keys())
    if names:
        word = "is missing" if names[0] in expected else "should not be there"
        return f"{names[0]} {word}"
    changed = sorted(name for name in expected if expected[name] != found[name])
    return f"{changed[0]} is another" if changed else ""
