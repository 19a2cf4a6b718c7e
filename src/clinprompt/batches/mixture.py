"""Choose the rows of each training step, and draw samples.

A schedule depends only on its arguments and seed, so a resumed run needs no stored state. Knows
nothing of what the rows contain.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import count as count_up
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
SPLIT_SEEDS = {"train": 1, "validation": 2, "test": 3}  # added to a run's seed to draw samples
ROWS_PER_EMPTY = 4  # at most one in so many few-shot rows has an empty answer


def task_weights(
    sizes: Sequence[int], *, temperature: float, groups: Sequence[str] = ()
) -> NDArray[np.float64]:
    """Return the share of each task in a step.

    ``groups[k]`` is the group of task k. All groups have equal shares; without ``groups``, all
    tasks are in one. Within a group, a share is proportional to size^(1/temperature). Temperature 1
    gives shares proportional to size; larger values make them more equal.
    """
    powers = np.asarray(sizes, dtype=np.float64) ** (1.0 / temperature)
    names, number = np.unique(groups or [""] * len(sizes), return_inverse=True)
    totals = np.bincount(number, weights=powers)
    return np.asarray(powers / (totals[number] * len(names)))


def schedule(
    sizes: Sequence[int],
    *,
    steps: int,
    rows: int,
    temperature: float,
    seed: int,
    groups: Sequence[str] = (),
) -> list[list[tuple[int, int]]]:
    """Return, for each step, its rows as (task, row number).

    Tasks are drawn at random with ``task_weights``. Each task goes through its rows in shuffled
    epochs, so no row repeats before all other rows of its task were used.
    """
    weights = task_weights(sizes, temperature=temperature, groups=groups)
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


def hold_out(
    notes: Sequence[int], count: int, *, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide rows into those kept and at most ``count`` held out; return the numbers of both.

    ``notes[i]`` is the note that row i is from. Notes are taken whole, at random: one is passed
    over if it has more rows than are still wanted. So no row is held out whose note is trained on.
    """
    sizes = Counter(notes)
    held: set[int] = set()
    room = count
    for note in np.random.default_rng(seed).permutation(list(sizes)):
        if sizes[note] <= room:
            held.add(note)
            room -= sizes[note]
    numbers = range(len(notes))
    kept = tuple(number for number in numbers if notes[number] not in held)
    return kept, tuple(number for number in numbers if notes[number] in held)


def balanced_draws(size: int, count: int, *, draws: int, seed: int) -> list[tuple[int, ...]]:
    """Return ``draws`` random choices of ``count`` of ``size`` numbers, each in ascending order.

    All numbers are chosen equally often, up to one. If ``count`` is half of ``size``, each second
    choice is the other half of the one before. More draws begin with the same ones.
    """
    generator = np.random.default_rng(seed)
    used = np.zeros(size, dtype=np.int64)
    found = []
    for _ in range(draws):
        order = np.lexsort((generator.random(size), used))
        used[order[:count]] += 1
        found.append(tuple(sorted(int(number) for number in order[:count])))
    return found


def draw_shots(groups: Sequence[str], count: int, *, seed: int) -> tuple[int, ...]:
    """Choose ``count`` row numbers, balanced over the groups (labels) as far as rows allow.

    If ``count`` is no multiple of the number of groups, which groups have one row more is random.
    """
    generator = np.random.default_rng(seed)
    unused: dict[str, list[int]] = {group: [] for group in sorted(set(groups))}
    for index in generator.permutation(len(groups)):
        unused[groups[index]].append(int(index))
    names = list(unused)
    in_turn = [unused[names[number]] for number in generator.permutation(len(names))]
    chosen: list[int] = []
    while len(chosen) < min(count, len(groups)):
        for rows in in_turn:
            if rows and len(chosen) < count:
                chosen.append(rows.pop())
    return tuple(sorted(chosen))


def draw_annotated(types: Sequence[Collection[str]], count: int, *, seed: int) -> tuple[int, ...]:
    """Choose ``count`` row numbers, of which at least three in four have an annotation.

    ``types[i]`` are the types of the annotations of row i. Every type occurs in the chosen rows, as
    far as ``count`` allows. Otherwise the rows are random: a random draw that has fewer empty rows
    keeps their share. If there are too few annotated rows, more empty rows are chosen.
    """
    order = [int(index) for index in np.random.default_rng(seed).permutation(len(types))]
    annotated = [index for index in order if types[index]]
    empty = [index for index in order if not types[index]]
    num_drawn_empty = sum(not types[index] for index in order[:count])
    num_empty = max(min(num_drawn_empty, count // ROWS_PER_EMPTY), count - len(annotated))
    first = _covering(types, annotated, max(0, count - num_empty))
    rest = [index for index in annotated if index not in first]
    kept = [*first, *rest][: max(0, count - num_empty)]
    return tuple(sorted([*kept, *empty[:num_empty]]))


def _covering(types: Sequence[Collection[str]], rows: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` rows with all types, as far as that is possible.

    The rarest type comes first, and takes its first row. If there are more types than rows are
    left, it takes the row that has the most types.
    """
    frequency = Counter(kind for index in rows for kind in types[index])
    missing = set(frequency)
    chosen: list[int] = []
    while missing and len(chosen) < count:
        rarest = min(missing, key=lambda kind: (frequency[kind], kind))
        having = [index for index in rows if rarest in types[index]]
        is_short = len(missing) > count - len(chosen)
        wanted = missing if is_short else set[str]()
        shared = [len(wanted.intersection(types[index])) for index in having]
        chosen.append(having[shared.index(max(shared))])
        missing -= set(types[chosen[-1]])
    return chosen
