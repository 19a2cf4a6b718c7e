"""Try a fault at every operation on the disk: `make test-faults`.

    python tests/faults/run.py [WORKLOAD ...] [--fault kill ...] [--points N] [--seed 0]

Without ``--points``, every operation is tried: 1, 2, and so on, until a run passes. With it, so
many operations of each workload and fault, drawn with the seed. At last come random kills of a
process of the command line. Prints how many points were tried and how many lost something, and
exits with 1 if any did.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import torch
from disk import FAULTS, Fault
from kills import kill_at_random
from trials import Point, Trials, Verdict
from workloads import NAMES, Inputs, workloads

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_trials: dict[str, Trials] = {}  # of the parent, and so of its forks


def points_of(
    trials: Trials, name: str, faults: Sequence[Fault], number: int, seed: int
) -> Iterator[Point]:
    """Yield the points of a workload: all, or ``number`` of each fault."""
    every = range(1, len(trials.names) + 1)
    for fault in faults:
        draw = random.Random(f"{seed} {name} {fault}")
        chosen = sorted(draw.sample(every, number)) if 0 < number < len(every) else every
        yield from (Point(name, fault, at) for at in chosen)


def _verdict(point: Point) -> Verdict:
    return _trials[point.workload].verdict(point)


def tried(points: Sequence[Point], processes: int) -> Iterator[Verdict]:
    """Yield the verdicts of points as they come."""
    if processes == 1:
        yield from map(_verdict, points)
        return
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_verdict, points)


def try_all(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Try the points of all workloads and print them; return what was lost."""
    inputs_folder = folder / "inputs"
    inputs_folder.mkdir()
    known = workloads(Inputs(inputs_folder).make())
    for name in ("adapt", "distill"):  # imports and practice notes, which each trial has then
        known[name].run(folder / f"warm-{name}")
    lost = []
    for name in arguments.workloads or NAMES:
        started = monotonic()
        trials = Trials(known[name], folder / name)
        _trials[name] = trials
        given = arguments.points, arguments.seed
        points = list(points_of(trials, name, arguments.fault, *given))
        own = [one for one in tried(points, arguments.processes) if one.lost]
        seconds = monotonic() - started
        print(
            f"{name}: {len(trials.names)} operations, {len(points)} points tried, {len(own)} lost "
            f"({seconds:.0f} s)",
            flush=True,
        )
        for one in own:
            operation = trials.names[one.point.at - 1]
            lost.append(f"{name}, {one.point.fault} at {one.point.at} ({operation}): {one.lost}")
            print(f"  {lost[-1]}", flush=True)
        arguments.tried += len(points)
    return lost


def record(what: str, figure: str) -> None:
    """Write a figure between its marks in docs/reliability.md."""
    begin, end = f"<!-- {what}:begin -->", f"<!-- {what}:end -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{begin}{figure}{end}{after}", encoding="utf-8")


def _record(arguments: argparse.Namespace, lost: Sequence[str]) -> None:
    of_kills = sum(one.startswith("kills: ") for one in lost)
    is_whole = not arguments.workloads and not arguments.points and len(arguments.fault) == 3
    if is_whole:
        record("faults", f"{arguments.tried:,} points tried, {len(lost) - of_kills} lost")
    if arguments.kills:
        model = arguments.backbone or "a tiny model"
        record("kills", f"{arguments.kills} kills on {model}, {of_kills} lost")


def main(words: Sequence[str]) -> int:
    """Try what the words say; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(NAMES))
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this; repeatable")
    parser.add_argument("--points", type=int, default=0, help="of each workload and fault; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--processes", type=int, default=1, help="trials at a time")
    parser.add_argument("--kills", type=int, default=0, help="random kills of a process")
    parser.add_argument("--backbone", default="", help="of the kills; without it, a tiny model")
    parser.add_argument("--record", action="store_true", help="write figures of whole runs to docs")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.workloads) - set(NAMES) - {"none"}:
        parser.error(f"no workload {min(unknown)!r}; known: {', '.join(NAMES)}")
    arguments.fault = arguments.fault or list(FAULTS)
    arguments.tried = 0
    torch.set_num_threads(1)
    memory = Path("/dev/shm")  # there, waiting for the disk takes no time
    place = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="clinprompt-faults-", dir=place) as place:
        folder = Path(place)
        os.environ["CLINPROMPT_CACHE"] = str(folder / "cache")
        lost = [] if arguments.workloads == ["none"] else try_all(arguments, folder)
        if arguments.kills:
            lost += kill_at_random(
                folder / "kills", arguments.kills, arguments.seed, backbone=arguments.backbone
            )
    print(f"{arguments.tried + arguments.kills} points tried, {len(lost)} lost")
    if arguments.record:
        _record(arguments, lost)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
