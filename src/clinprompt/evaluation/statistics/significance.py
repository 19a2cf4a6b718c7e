"""Say how sure a score is. Knows nothing of models or files.

All of it resamples the rows of one test set: it speaks of the rows, not of other seeds or of other
hospitals. Axes: N rows, S sums, D draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.scores import Numbers, Scores

_CELLS_AT_ONCE = 4_000_000  # draws × rows held in memory at a time
_Z = 1.96  # two-sided 5 % point of the normal distribution


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a score with the standard error of its resamples."""

    low: float
    high: float
    standard_error: float


def bootstrap_values(scores: Scores, generator: Generator, *, num_draws: int = 2000) -> Numbers:
    """Return the score [D] of resamples of the rows with replacement."""
    return bootstrap_means([[scores]], generator, num_draws=num_draws)[0]


def bootstrap_means(
    groups: Sequence[Sequence[Scores]], generator: Generator, *, num_draws: int = 2000
) -> list[Numbers]:
    """Return the mean score [D] of each group in resamples of the rows that all groups share.

    A group is one method with one score a seed. A draw takes the same rows for every seed and every
    method, so draws of two groups can be subtracted from each other.
    """
    statistics = _side_by_side(groups)
    num_rows = len(statistics)
    at_once = max(1, _CELLS_AT_ONCE // num_rows)
    shares = np.full(num_rows, 1 / num_rows)
    sums = [
        generator.multinomial(num_rows, shares, size=min(at_once, num_draws - start)) @ statistics
        for start in range(0, num_draws, at_once)
    ]
    return _group_means(np.concatenate(sums), groups)


def confidence_interval(
    scores: Scores, generator: Generator, *, num_draws: int = 2000, level: float = 0.95
) -> Interval:
    """Return the percentile bootstrap interval of a score over its rows.

    Where every row scores alike (all wrong, all right) the interval has no width: the resamples
    cannot know better.
    """
    values = bootstrap_values(scores, generator, num_draws=num_draws)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), float(values.std(ddof=1)))


def detectable_difference(standard_error: float) -> float:
    """Return 1.96 · √2 · standard error: the least difference of two scores significant at 5 %.

    It treats the two scores as if from different rows; a paired test on the same rows usually sees
    less, so this is conservative. A true difference of this size is found half the time; 1.43 times
    it, four times in five.
    """
    return float(_Z * np.sqrt(2) * standard_error)


def smallest_detectable_difference(
    scores: Scores, generator: Generator, *, num_draws: int = 2000
) -> float:
    """Return the detectable difference at a score's bootstrap standard error."""
    return detectable_difference(
        confidence_interval(scores, generator, num_draws=num_draws).standard_error
    )


def permutation_test(
    first: Scores, second: Scores, generator: Generator, *, num_draws: int = 2000
) -> float:
    """Return the two-sided p-value of a difference on the same rows, rows swapped at random.

    The observed arrangement counts as one draw, so the least value is 1 / (D + 1).

    Raises:
        DataError: the two scores are not of the same metric on the same number of rows.
    """
    if first.metric != second.metric or first.statistics.shape != second.statistics.shape:
        raise DataError(
            f"cannot pair {first.metric} on {first.num_rows} rows with {second.metric} on "
            f"{second.num_rows} rows; score both methods on the same rows"
        )
    drawn = swapped_differences([([first], [second])], generator, num_draws=num_draws)
    return p_value(second.value - first.value, drawn[0])


def swapped_differences(
    pairs: Sequence[tuple[Sequence[Scores], Sequence[Scores]]],
    generator: Generator,
    *,
    num_draws: int = 2000,
) -> Numbers:
    """Return for each pair the difference [pairs, D], second less first, with rows swapped.

    Both sides of a pair have one score a seed, seeds in one order, all on the same N rows. A draw
    swaps each row with even odds: for all seeds at once, and the same rows in every pair.
    """
    if not pairs:
        return np.empty((0, num_draws))
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    before, after = _side_by_side(first), _side_by_side(second)
    change = after - before
    at_once = max(1, _CELLS_AT_ONCE // max(change.shape))
    drawn = []
    for start in range(0, num_draws, at_once):
        size = (min(at_once, num_draws - start), len(change))
        moved = generator.integers(0, 2, size=size, dtype=np.uint8).astype(np.float64) @ change
        ahead = _group_means(after.sum(axis=0) - moved, second)
        behind = _group_means(before.sum(axis=0) + moved, first)
        drawn.append(np.array(ahead) - np.array(behind))
    return np.concatenate(drawn, axis=1)


def p_value(observed: float, drawn: Numbers) -> float:
    """Return the two-sided p-value of a difference among draws [D] under no difference.

    The observed arrangement counts as one draw, so the least value is 1 / (D + 1).
    """
    num_as_large = int((np.abs(drawn) >= abs(observed) - 1e-12).sum())
    return (1 + num_as_large) / (1 + len(drawn))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number by Holm's step-down rule, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = reached
    return tuple(adjusted)


def _group_means(sums: Numbers, groups: Sequence[Sequence[Scores]]) -> list[Numbers]:
    """Return each group's mean score [D] from the sums of all its members' statistics, in order."""
    members = [one for group in groups for one in group]
    ends = np.cumsum([one.statistics.shape[1] for one in members])
    parts = iter(np.split(sums, ends[:-1], axis=1))
    return [np.mean([one.formula(next(parts)) for one in group], axis=0) for group in groups]


def _side_by_side(groups: Sequence[Sequence[Scores]]) -> Numbers:
    """Return all members' statistics on the same N rows as one table [N, ...], in order."""
    return np.concatenate([one.statistics for group in groups for one in group], axis=1)
