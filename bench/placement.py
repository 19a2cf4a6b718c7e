"""Compare the quality of prompts before and after the input, tuned in the same way.

Each prompt is trained alone on the training rows of one real task, with the same settings and
seeds. Writes docs/results/bench/placement.json and .md; continues where it was stopped.

Run: python bench/placement.py DIR RUNS    (the mirror; a folder for runs)
"""

import json
import sys
from pathlib import Path
from typing import Any

from clinprompt.jobs.annotate import load_prompt
from clinprompt.jobs.evaluate import data_of, evaluate_prompt
from clinprompt.jobs.tune import tune_task
from clinprompt.settings.run import RunConfig, check_config
from clinprompt.training.progress import Silent

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "bench"
TARGETS = ("ner-reddit-drugs", "ie-phee", "sum-openi", "ner-ncbi-disease")  # the last is a source
PLACEMENTS = ("prefix", "suffix")
TEST_ROWS = 100
SETTINGS: dict[str, Any] = {
    "data": {"max_input_tokens": 128, "max_target_tokens": 40},
    "prompt": {"length": 20},
    "teacher": {"steps": 120, "rows": 8, "warmup_steps": 5},
}


def main() -> None:
    """Train and score each missing cell."""
    path = RESULTS / "placement.json"
    cells = json.loads(path.read_text()) if path.is_file() else []
    for seed in (0, 1):
        for target in TARGETS:
            for placement in PLACEMENTS:
                if not any(
                    (c["target"], c["placement"], c["seed"]) == (target, placement, seed)
                    for c in cells
                ):
                    cells.append(_cell(target, placement, seed))
                    _save(path, cells)


def _cell(target: str, placement: str, seed: int) -> dict[str, Any]:
    mirror, runs = Path(sys.argv[1]), Path(sys.argv[2])
    prompt = SETTINGS["prompt"] | {"placement": placement}
    config: RunConfig = check_config(
        {**SETTINGS, "prompt": prompt, "seed": seed, "name": "placement"}, source=__file__
    )
    folder = runs / f"{target}-{placement}-{seed}"
    saved = tune_task(folder, target, config, mirror=mirror, reporter=Silent())
    loaded = load_prompt(saved)
    cell = evaluate_prompt(loaded, data_of(loaded, mirror), num_rows=TEST_ROWS)
    kept = ("target", "metric", "scorer", "value", "low", "high", "num_rows", "unparseable")
    return {
        "placement": placement,
        "seed": seed,
        **{name: getattr(cell, name) for name in kept},
    }


def _save(path: Path, cells: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(cells, indent=2) + "\n")
    lines = [
        "# Prompts in front of the input and behind it\n",
        f"Tuned alone, {SETTINGS['teacher']['steps']} steps of {SETTINGS['teacher']['rows']} rows, "
        f"P = {SETTINGS['prompt']['length']}, {TEST_ROWS} test rows, 95 % bootstrap intervals.\n",
        "| target | metric | seed | prefix | suffix |",
        "| --- | --- | --- | --- | --- |",
    ]
    for seed in sorted({cell["seed"] for cell in cells}):
        for target in TARGETS:
            own = {c["placement"]: c for c in cells if (c["target"], c["seed"]) == (target, seed)}
            if set(own) == set(PLACEMENTS):
                shown = [
                    f"{own[p]['value']:.2f} [{own[p]['low']:.2f}, {own[p]['high']:.2f}]"
                    for p in PLACEMENTS
                ]
                lines.append(
                    f"| {target} | {own['prefix']['metric']} | {seed} | {' | '.join(shown)} |"
                )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
