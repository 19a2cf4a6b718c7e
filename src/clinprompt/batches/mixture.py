"""Choose the rows of each training step, and draw samples.

A schedule depends only on its arguments and seed, so a resumed run needs no stored state. Knows
nothing of what the rows contain.
"""

from collections.abc import Iterator, Sequence
from itertools import count as count_up
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
SPLIT_SEEDS = {"train": 1, "validation": 2, "test": 3}  # added to a run's seed to draw samples


def task_weights(sizes: Sequence[int], *, temperature: float) -> NDArray[np.float64]:
    """Return the share of each task in a step: size^(1/temperature), normalized.

    Temperature 1 gives shares proportional to size; larger values make them more equal.
    """
    powers = np.asarray(sizes, dtype=np.float64) ** (1.0 / temperature)
    return np.asarray(powers / powers.sum())


def schedule(
    sizes: Sequence[int], *, steps: int, rows: int, temperature: float, seed: int
) -> list[list[tuple[int, int]]]:
    """Return, for each step, its rows as (task, row number).

    Tasks are drawn at random with ``task_weights``. Each task goes through its rows in shuffled
    epochs, so no row repeats before all other rows of its task were used.
    """
    weights = task_weights(sizes, temperature=temperature)
    drawn = np.random.default_rng(seed).choice(len(sizes), size=(steps, rows), p=weights)
    streams = [_endless_shuffle(size, seed=seed, task=task) for task, size in enumerate(sizes)]
    return [[(int(task), next(streams[task])) for task in step] for step in drawn]


def _endless_shuffle(size: int, *, seed: int, task: int) -> Iterator[int]:
    for epoch in count_up():
        for index in np.random.default_rng((seed, task, epoch)).permutation(size):
            yield int(index)


def sample(items: Sequence[Item], count: int, *, seed: int) -> tuple[Item, ...]:
    """Draw at most ``count`` items without repetition, in their original order."""
    if count >= len(items):
        return tuple(items)
    chosen = np.random.default_rng(seed).choice(len(items), size=count, replace=False)
    return tuple(items[index] for index in sorted(chosen))


def draw_shots(groups: Sequence[str], count: int, *, seed: int) -> tuple[int, ...]:
    """Choose ``count`` row numbers, balanced over the groups (labels) as far as rows allow."""
    generator = np.random.default_rng(seed)
    unused: dict[str, list[int]] = {group: [] for group in sorted(set(groups))}
    for index in generator.permutation(len(groups)):
        unused[groups[index]].append(int(index))
    chosen: list[int] = []
    while len(chosen) < min(count, len(groups)):
        for rows in unused.values():
            if rows and len(chosen) < count:
                chosen.append(rows.pop())
    return tuple(sorted(chosen))
