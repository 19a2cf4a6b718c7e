"""Measure how much of a teacher's probability is outside its k most likely tokens.

The prompts are those that bench/placement.py tuned before the input. They are measured at target
tokens of test rows of their tasks. Writes docs/results/bench/top_k.md.

Run: python bench/top_k.py DIR RUNS    (the mirror; the folder of placement.py's runs)
"""

import sys
from pathlib import Path

import torch
from placement import RESULTS, TARGETS

from clinprompt.backbone.bank import make_bank, target_states
from clinprompt.batches.encode import collate
from clinprompt.jobs.annotate import load_prompt
from clinprompt.runs.examples import encode_all, examples_of
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task

COUNTS = (1, 4, 16, 64, 256)
ROWS = 48


def main() -> None:
    """Measure each target's prompt; write one table."""
    mirror, runs = Path(sys.argv[1]), Path(sys.argv[2])
    lines = [
        "# Probability outside a teacher's k likeliest tokens\n",
        f"Mean over the target tokens of {ROWS} test rows.\n",
        f"| target | {' | '.join(f'k = {k}' for k in COUNTS)} |",
        f"|{' --- |' * (len(COUNTS) + 1)}",
    ]
    for target in TARGETS:
        saved = runs / f"{target}-prefix-0" / "store" / "teachers" / target
        rest = " | ".join(f"{value:.4f}" for value in outside(saved, target, mirror))
        lines.append(f"| {target} | {rest} |")
    (RESULTS / "top_k.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def outside(saved: Path, target: str, mirror: Path) -> list[float]:
    """Return the mean mass outside the k likeliest tokens, for each k."""
    loaded = load_prompt(saved)
    backbone, data = loaded.backbone, load_task(find_card(target), mirror)
    examples = examples_of(data, "test", limit=ROWS, seed=0)
    rows = encode_all(loaded.encoder(), data.card, examples)
    with torch.inference_mode():
        bank = make_bank(backbone.model, loaded.prompt[None])
        states = target_states(backbone.model, collate(rows, pad_id=backbone.pad_id), bank)
        likely = states.logits.softmax(dim=-1).topk(max(COUNTS), dim=-1).values
    return [1 - float(likely[:, :k].sum(dim=-1).mean()) for k in COUNTS]


if __name__ == "__main__":
    main()
