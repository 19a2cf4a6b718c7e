"""Try many damaged and hostile inputs on all that reads input of others, from a seed.

``python tests/hostile/attack.py --inputs 1000000`` tries so many, in two processes, and prints how
often each surface read and refused them. An input that does what none may do (an error that is not
clinprompt's own, more than 2 s or 1 GiB, a file outside of its folder, text of a record in a
message) is kept in a folder and printed with its number; ``--only SURFACE --first NUMBER`` tries it
again.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS), str(TESTS / "unit" / "tasks" / "readers")]

from api_surface import api_surface  # noqa: E402 - after the path is set
from prompt_surfaces import prompt_surfaces  # noqa: E402
from surfaces import SECRET_TEXT, SURFACES, Surface, empty  # noqa: E402
from watched import CANARY, OUTSIDE, Outcome, watch  # noqa: E402

_CHUNK = 500  # inputs between two reports of a process
_SILENT_SECONDS = 300  # after which a process counts as hanging
API = "bodies of requests"


@dataclass
class Tally:
    """What happened to the inputs of one surface."""

    tried: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, outcome: Outcome) -> None:
        """Count one input."""
        self.tried += 1
        self.refused += outcome.is_refused
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.fault:
            self.faults.append((number, outcome.fault))

    def join(self, other: "Tally") -> None:
        """Add the counts of other inputs."""
        self.tried += other.tried
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.faults += other.faults


@contextmanager
def opened_surfaces(only: str = "") -> Iterator[dict[str, Surface]]:
    """Yield all surfaces, or those whose name has ``only`` in it; a server runs meanwhile."""
    with ExitStack() as stack:
        found = {**SURFACES, **prompt_surfaces()}
        if only in API:
            found[API] = stack.enter_context(api_surface())
        yield {name: one for name, one in found.items() if only in name}


@contextmanager
def place_for_inputs() -> Iterator[Path]:
    """Yield a folder for inputs, beside a folder that none may reach; in memory if possible."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        (Path(root) / OUTSIDE).mkdir()
        (Path(root) / OUTSIDE / "a.csv").write_text(f"n,t,l\n1,{CANARY},1\n")
        folder = Path(root) / "inside"
        folder.mkdir()
        yield folder


def input_of(surface: Surface, name: str, number: int, seed: int) -> bytes:
    """Return the input of a surface with this number."""
    return surface.input(random.Random(f"{seed} {name} {number}"))


def try_one(surface: Surface, content: bytes, folder: Path) -> Outcome:
    """Let a surface read one input."""
    empty(folder)
    return watch(
        lambda: surface.read(folder, content),
        folder,
        secret=SECRET_TEXT,
        may_connect=surface.may_connect,
    )


def shares(surfaces: Mapping[str, Surface], inputs: int) -> dict[str, int]:
    """Return how many of the inputs each surface gets; at least one."""
    total = sum(one.share for one in surfaces.values())
    return {name: max(1, inputs * one.share // total) for name, one in surfaces.items()}


def _work(pipe: Connection, options: argparse.Namespace, process: int) -> None:
    """Try the inputs of one process, and report after each chunk, and before each input."""
    with opened_surfaces(options.only) as surfaces, place_for_inputs() as folder:
        for name, number_of in shares(surfaces, options.inputs).items():
            tally, surface = Tally(), surfaces[name]
            first = options.first + process
            for number in range(first, options.first + number_of, options.processes):
                if tally.tried % _CHUNK == 0:
                    pipe.send((name, number, tally))
                    tally = Tally()
                content = input_of(surface, name, number, options.seed)
                _note(options, process, f"{name} {number}")
                outcome = try_one(surface, content, folder)
                tally.add(number, outcome)
                if outcome.fault:
                    _keep(options.faults, f"{name} {number}", content)
            pipe.send((name, -1, tally))
    pipe.send(None)


def _note(options: argparse.Namespace, process: int, what: str) -> None:
    """Write which input is tried, in case that it ends the process."""
    place = options.progress / str(process)
    with place.open("w") as stream:
        stream.write(what)


def _keep(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name.replace("/", "_").replace(" ", "_")).write_bytes(content)


def _collect(options: argparse.Namespace) -> dict[str, Tally]:
    """Run the processes and join what they report; one that dies or hangs is a fault."""
    context, tallies = get_context("spawn"), dict[str, Tally]()
    running = {}
    for process in range(options.processes):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, options, process))
        worker.start()
        theirs.close()
        running[process] = (worker, ours)
    for process, (worker, pipe) in running.items():
        for name, tally in _reports(pipe):
            tallies.setdefault(name, Tally()).join(tally)
        worker.join(timeout=30)
        if worker.exitcode != 0:
            if worker.pid and worker.is_alive():
                os.kill(worker.pid, signal.SIGKILL)
            what = (options.progress / str(process)).read_text()
            lost = Tally(faults=[(-1, f"the process ended or hung while it read {what}")])
            tallies.setdefault(what.rpartition(" ")[0], Tally()).join(lost)
    return tallies


def _reports(pipe: Connection) -> Iterator[tuple[str, Tally]]:
    while pipe.poll(_SILENT_SECONDS):
        try:
            report = pipe.recv()
        except EOFError:
            return
        if report is None:
            return
        name, _, tally = report
        yield name, tally


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all surfaces together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", default="", help="part of the name of a surface")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--faults", type=Path, default=Path("hostile-faults"), help="folder")
    return parser.parse_args()


def main() -> None:
    """Try the inputs and print a line for each surface; exit with 1 if one has a fault."""
    options = _options()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as progress:
        options.progress = Path(progress)
        tallies = _collect(options)
    line = "{:44} {:>9} {:>9} {:>7} {:>9}\n"
    sys.stdout.write(line.format("surface", "inputs", "refused", "faults", "slowest s"))
    for name, one in sorted(tallies.items()):
        numbers = (f"{one.tried:,}", f"{one.refused:,}", len(one.faults), f"{one.slowest:.2f}")
        sys.stdout.write(line.format(name, *numbers))
        for number, fault in one.faults[:5]:
            sys.stdout.write(f"    {number}: {fault[:300]}\n")
    tried = sum(one.tried for one in tallies.values())
    faults = sum(len(one.faults) for one in tallies.values())
    minutes = (time.monotonic() - begun) / 60
    sys.stdout.write(f"{tried:,} inputs, {faults} faults, {minutes:.0f} minutes\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
