"""Search the settings of each method on held-out tasks and fill grids, in lanes of processes.

Prompts are trained and answered in teams. LoRA cells run one after the other in parallel processes.
All processes of a lane share its cells. Knows nothing of which grid it is.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from choice import SEARCH, best_trial, trials_of
from session import Lines, Session, arguments_of, overrides, read_lines, write

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# How many times more positions than on a CPU are decoded at a time: one of many LoRA processes has
# less memory than one of the few processes that answer whole teams.
GPU_FACTORS = {"prompts": 24, "lora": 8}
# How long a process waits for the next trial of the others. A tiny run may share a busy machine.
PATIENCE_SECONDS, TINY_PATIENCE_SECONDS = 15.0, 120.0
TINY = {
    "suite": "practice",
    "metaprompt": "",
    "dtype": "bfloat16",
    "data.max_input_tokens": 80,
    "data.max_target_tokens": 32,
    "data.train_rows": 16,
    "data.test_rows": 4,
    "prompt.length": 4,
    "prompt.placement": "layers",
    "teacher.steps": 1,
    "distill.steps": 1,
    "adapt.steps": 2,
    "compare.targets": ["practice-ner-drugs", "practice-nli-social"],
    "compare.seeds": [0],
}


@dataclass(frozen=True, slots=True)
class Lane:
    """Processes that share their cells: the methods whose rates they search, then compare."""

    searched: tuple[str, ...]
    compared: tuple[str, ...]


LANES = {
    "prompts": Lane(
        ("adapted-metaprompt", "prompt-tuning", "adapted-factors"),
        ("metaprompt", "adapted-metaprompt", "prompt-tuning", "adapted-factors@factors"),
    ),
    "lora": Lane(("lora",), ("lora",)),
}


def grid_arguments(description: str | None, *, prompts: int, lora: int) -> argparse.ArgumentParser:
    """Return a parser for a script that fills a grid, with its numbers of processes."""
    parser = arguments_of(description)
    parser.add_argument("--metaprompt", type=Path, help="its folder; default: that in the package")
    parser.add_argument("--rates", type=Path, help="OUT of a call that searched: do not search")
    parser.add_argument("--search-seconds", type=float, default=110, help="of the search; 0: none")
    parser.add_argument("--prompt-processes", type=int, default=prompts)
    parser.add_argument("--lora-processes", type=int, default=lora)
    parser.add_argument("--mps", action="store_true", help="try CUDA's multi-process service")
    return parser


def run_lanes(session: Session, given: argparse.Namespace, script: str) -> bool:
    """Run all processes of a grid until they end or the time is over; return whether all ended."""
    for path in given.rates.glob("rates-*.json") if given.rates else ():
        shutil.copy(path, given.work)
    left = ["--work", str(given.work), "--seconds", str(session.seconds_left)]
    counts = {"prompts": given.prompt_processes, "lora": given.lora_processes}
    with session.multi_process_service(is_wanted=given.mps):
        for lane, count in counts.items():
            for _ in range(count):
                session.start(script, *sys.argv[1:], *left, "--worker", lane)
        return session.wait()


def show_end(session: Session, given: argparse.Namespace, *, is_done: bool) -> int:
    """Print the log and how many cells there are; return the exit status.

    It is 0 if every grid that was begun has cells.
    """
    session.say("done" if is_done else "not finished: --resume continues")
    session.show_log(6000)
    found = {path.name: len(read_lines(path)) for path in sorted(given.out.glob("cells-*"))}
    print(json.dumps(found), flush=True)
    return 0 if found and all(found.values()) else 1


@dataclass(frozen=True, slots=True)
class Grid:
    """A comparison: its name in files, its config in configs/, and changed settings.

    ``known`` makes of the same config another comparison, of another name, whose settings need no
    search; it is filled first, in at most half of the time. ``fixed`` are changed in the search
    too, ``narrowed`` in the comparison alone, ``tiny`` in the comparisons of a trial.
    """

    name: str
    config: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    narrowed: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)


def fill(given: argparse.Namespace, grid: Grid) -> None:
    """Do the part of one process: search, wait for the others' trials, compare."""
    from clinprompt.backbone import scheduler  # noqa: PLC0415 - --help needs no package
    from clinprompt.jobs.comparison.budget import Budget  # noqa: PLC0415
    from clinprompt.jobs.comparison.compare import compare  # noqa: PLC0415
    from clinprompt.settings.run import load_config  # noqa: PLC0415

    ends, lane, say = monotonic() + given.seconds, LANES[given.worker], Lines(given.worker)
    scheduler._GPU_FACTOR = GPU_FACTORS[given.worker]
    fixed = dict(grid.fixed)
    if given.tiny:
        fixed |= {**TINY, "backbone": str(given.tiny)}
    if given.metaprompt:
        fixed["metaprompt"] = str(given.metaprompt)

    def run(name: str, config: Path, changed: Mapping[str, Any], seconds: float) -> int:
        settings = load_config(config, [*overrides(list((fixed | changed).items())), *given.set])
        say.say(f"{name} starts, with {seconds:.0f} s")
        outcome = compare(
            given.work / f"{name}-{given.worker}",
            settings,
            mirror=None,
            command=None,
            reporter=say,
            budget=Budget(seconds),
        )
        say.say(f"{name}: {len(outcome.cells)} cells, {outcome.num_missing} missing")
        return outcome.num_missing

    tiny = grid.tiny if given.tiny else {}
    if grid.known:
        known = {"compare.methods": list(lane.compared), **grid.known, **tiny}
        run(grid.known["name"], CONFIGS / grid.config, known, given.seconds / 2)
    rates = given.work / f"rates-{given.worker}.json"
    if not rates.is_file():
        trials = [trial for method in lane.searched for trial in trials_of(method)]
        cells, missing = given.work / f"search-{given.worker}" / "cells.jsonl", 0
        if given.search_seconds:
            own = {"compare.methods": trials} | ({"compare.shots": [4]} if given.tiny else {})
            missing = run("search", SEARCH, own, given.search_seconds)
            patience = TINY_PATIENCE_SECONDS if given.tiny else PATIENCE_SECONDS
            _wait_for(cells, len(read_lines(cells)) + missing, patience)
        _choose(rates, {method: best_trial(method, read_lines(cells)) for method in lane.searched})
    changed: dict[str, Any] = {"compare.methods": list(lane.compared)}
    for method, own in json.loads(rates.read_text()).items():
        say.say(f"{method}: {own['settings']}, chosen on {', '.join(own['tasks']) or 'none'}")
        where = "variants.factors." if method == "adapted-factors" else ""
        changed |= {where + key: value for key, value in own["settings"].items()}
    changed |= {**grid.narrowed, **tiny}
    run(grid.name, CONFIGS / grid.config, changed, max(1.0, ends - monotonic()))


def run_script(given: argparse.Namespace, grid: Grid, script: str) -> None:
    """Fill a grid, or its part of one process, and leave in OUT what was finished."""
    if given.worker:
        fill(given, grid)
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        is_done = run_lanes(session, given, script)
    sys.exit(show_end(session, given, is_done=is_done))


def _wait_for(cells: Path, wanted: int, patience: float) -> None:
    """Wait for trials of other processes of the lane, as long as they finish some."""
    found, waits_until = -1, 0.0
    while found < wanted:
        before, found = found, len(read_lines(cells))
        if found > before:
            waits_until = monotonic() + patience
        if monotonic() >= waits_until:
            return
        sleep(0.3)


def _choose(path: Path, chosen: Mapping[str, Any]) -> None:
    """Write the chosen settings, unless another process of the lane has done so."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    write(draft, json.dumps(chosen, indent=2).encode() + b"\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
