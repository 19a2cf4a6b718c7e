"""Rows for benches: tokens drawn at random, lengths those of open21's sources."""

import json
from pathlib import Path
from random import Random

from clinprompt.batches.encode import Row

LENGTHS = Path(__file__).parent / "lengths.json"
COMMON = range(1000, 20_000)  # ids of ordinary words


def random_ids(count: int, draw: Random) -> tuple[int, ...]:
    """Return token ids without meaning."""
    return tuple(draw.choices(COMMON, k=count))


def step_rows(*, rows: int, tasks: int, longest: int, seed: int) -> list[Row]:
    """Return the rows of one step over tasks of open21 drawn at random, read up to ``longest``."""
    draw = Random(seed)
    by_task = {
        name.partition(" ")[2]: pairs
        for name, pairs in json.loads(LENGTHS.read_text()).items()
        if name.startswith(f"{longest} ")
    }
    chosen = draw.sample(sorted(by_task), tasks)
    drawn = [(n % tasks, *draw.choice(by_task[chosen[n % tasks]])) for n in range(rows)]
    return [
        Row(task, random_ids(num_input, draw), random_ids(num_target, draw), number=number)
        for number, (task, num_input, num_target) in enumerate(drawn)
    ]
