"""Compare a metaprompt with LoRA and prompt tuning at 16 and 64 examples, on one GPU.

Searches the rates of each method on held-back tasks (search-few-shots.toml), with four trials a
method. Then it fills configs/few-shots.toml draw by draw. Prompts are trained and answered in
teams. LoRA cells run one after the other in parallel processes. README.md says what it needs
and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/3_few_shots.py OUT --metaprompt FOLDER
     python bench/gpu/3_few_shots.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/3_few_shots.py OUT --tiny MODEL                  (a trial, on any processor)
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from choice import SEARCH, best_trial, trials_of
from session import Lines, Session, memory_folder, overrides, read_lines, write

GRID = Path(__file__).resolve().parents[2] / "configs" / "few-shots.toml"
# How many times more positions than on a CPU are decoded at a time: one of many LoRA processes has
# less memory than one of the few processes that answer whole teams.
GPU_FACTORS = {"prompts": 24, "lora": 8}
PATIENCE_SECONDS = 15.0  # how long a process waits for the last trials of the others
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
    "compare.shots": [4],
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


def main() -> None:
    """Search, compare, and leave in OUT what was finished, however the call ends."""
    given = _arguments()
    if given.lane:
        fill(given)
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with (
        session.returning(),
        session.multi_process_service(is_wanted=given.mps),
    ):
        counts = {"prompts": given.prompt_processes, "lora": given.lora_processes}
        for lane, count in counts.items():
            for _ in range(count):
                session.start(__file__, *sys.argv[1:], "--work", str(given.work), "--lane", lane)
        is_done = session.wait()
    session.say("done" if is_done else "not finished: --resume continues")
    print((given.out / "log.txt").read_text()[-6000:], flush=True)
    found = {path.name: len(read_lines(path)) for path in sorted(given.out.glob("cells-*"))}
    print(json.dumps(found), flush=True)
    sys.exit(0 if found and all(found.values()) else 1)


def fill(given: argparse.Namespace) -> None:
    """Do the part of one process: search, wait for the others' trials, compare."""
    from clinprompt.backbone import scheduler  # noqa: PLC0415 - --help needs no package
    from clinprompt.evaluation.cells import read_cells  # noqa: PLC0415
    from clinprompt.jobs.comparison.compare import Budget, compare  # noqa: PLC0415
    from clinprompt.settings.run import load_config  # noqa: PLC0415

    ends, lane, say = monotonic() + given.seconds, LANES[given.lane], Lines(given.lane)
    scheduler._GPU_FACTOR = GPU_FACTORS[given.lane]
    fixed = {**TINY, "backbone": str(given.tiny)} if given.tiny else {}
    if given.metaprompt and not given.tiny:
        fixed |= {"metaprompt": str(given.metaprompt)}

    def run(name: str, config: Path, changed: Mapping[str, Any], seconds: float) -> int:
        settings = load_config(config, [*overrides(list((fixed | changed).items())), *given.set])
        say.say(f"{name} starts")
        outcome = compare(
            given.work / f"{name}-{given.lane}",
            settings,
            mirror=None,
            command=None,
            reporter=say,
            budget=Budget(seconds),
        )
        say.say(f"{name}: {len(outcome.cells)} cells, {outcome.num_missing} missing")
        return outcome.num_missing

    rates = given.work / f"rates-{given.lane}.json"
    trials = [trial for method in lane.searched for trial in trials_of(method)]
    if not rates.is_file():
        missing = run("search", SEARCH, {"compare.methods": trials}, given.search_seconds)
        cells, waits_until = given.work / f"search-{given.lane}" / "cells.jsonl", None
        wanted = len(read_cells(cells)) + missing
        waits_until = monotonic() + PATIENCE_SECONDS
        while len(read_cells(cells)) < wanted and monotonic() < waits_until:
            sleep(0.3)
        _choose(rates, {method: best_trial(method, read_lines(cells)) for method in lane.searched})
    chosen = json.loads(rates.read_text())
    changed: dict[str, Any] = {"compare.methods": list(lane.compared)}
    for method, own in chosen.items():
        say.say(f"{method}: {own['settings']}, chosen on {', '.join(own['tasks']) or 'none'}")
        where = "variants.factors." if method == "adapted-factors" else ""
        changed |= {where + key: value for key, value in own["settings"].items()}
    run("few-shots", GRID, changed, max(1.0, ends - monotonic()))


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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for results")
    parser.add_argument("--metaprompt", type=Path, help="its folder; default: that in the package")
    parser.add_argument("--work", type=Path, help="folder for runs; best in memory")
    parser.add_argument("--resume", type=Path, help="state.tar.gz of an earlier call")
    parser.add_argument("--seconds", type=float, default=560, help="of the whole call")
    parser.add_argument("--search-seconds", type=float, default=110, help="of the search")
    parser.add_argument("--prompt-processes", type=int, default=2)
    parser.add_argument("--lora-processes", type=int, default=7)
    parser.add_argument("--mps", action="store_true", help="try CUDA's multi-process service")
    parser.add_argument("--set", action="append", default=[], help="a setting, section.key=value")
    parser.add_argument("--tiny", type=Path, help="folder of a tiny model: a trial of the script")
    parser.add_argument("--lane", choices=list(LANES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.work = given.work or memory_folder("clinprompt-few-shots", given.out)
    return given


if __name__ == "__main__":
    main()
