"""Confidence intervals of scores, over the rows of one test set.

They do not cover the variation between seeds, tasks or hospitals; ``hierarchical`` covers seeds and
tasks. Knows nothing about models or files. Axes: N rows, D resamples, S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from clinprompt.tasks.kinds.labels import ACCURACY
from clinprompt.tasks.kinds.scores import Numbers, Scores

_CELLS_AT_ONCE = 4_000_000  # draws × rows held in memory at a time
_Z = 1.96  # two-sided 5 % point of the normal distribution
_LEAST_ROWS = 5  # of which resamples say something


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a score, and the standard error of its resamples."""

    low: float
    high: float
    standard_error: float


def bootstrap_values(scores: Scores, generator: Generator, *, num_draws: int) -> Numbers:
    """Return the scores [D] of resamples of the rows, drawn with replacement."""
    return bootstrap_groups([[scores]], generator, num_draws=num_draws)[0][:, 0]


def bootstrap_groups(
    groups: Sequence[Sequence[Scores]], generator: Generator, *, num_draws: int = 2000
) -> list[Numbers]:
    """Return the scores [D, S] of each group in resamples of the rows that all groups share.

    A group is one method with one score for each of S seeds. A resample has the same rows for all
    seeds and methods, so the resamples of two groups can be subtracted.
    """
    statistics = _side_by_side(groups)
    num_rows = len(statistics)
    at_once = max(1, _CELLS_AT_ONCE // num_rows)
    shares = np.full(num_rows, 1 / num_rows)
    sums = [
        generator.multinomial(num_rows, shares, size=min(at_once, num_draws - start)) @ statistics
        for start in range(0, num_draws, at_once)
    ]
    return _group_scores(np.concatenate(sums), groups)


def confidence_interval(scores: Scores, generator: Generator, *, num_draws: int = 2000) -> Interval:
    """Return the 95 % percentile bootstrap interval of a score over its rows.

    If all rows have the same score (all wrong or all right), the interval has no width.
    """
    values = bootstrap_values(scores, generator, num_draws=num_draws)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high), float(values.std(ddof=1)))


def interval_of_few(scores: Scores, generator: Generator) -> tuple[float, float] | None:
    """Return low and high of a 95 % interval that also makes sense for a handful of rows.

    For accuracy it is the Wilson interval, which has a width even if all rows are right or all are
    wrong. For other metrics it is that of ``confidence_interval``, or None where that says nothing:
    there are fewer than 5 rows, or all resamples have the same score.
    """
    if scores.metric == ACCURACY.name:
        num_right, num_rows = scores.statistics.sum(axis=0)
        return wilson_interval(num_right, num_rows)
    interval = confidence_interval(scores, generator)
    if scores.num_rows < _LEAST_ROWS or interval.low == interval.high:
        return None
    return interval.low, interval.high


def wilson_interval(num_right: float, num_rows: float) -> tuple[float, float]:
    """Return low and high of the 95 % Wilson interval of a share (Wilson 1927), within 0 to 1."""
    whole = num_rows + _Z**2
    middle = (num_right + _Z**2 / 2) / whole
    half = _Z * np.sqrt(num_right * (num_rows - num_right) / num_rows + _Z**2 / 4) / whole
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def detectable_difference(standard_error: float) -> float:
    """Return 1.96 · √2 · standard error: the smallest difference of scores significant at 5 %.

    It assumes that the scores are of different rows; a paired test on the same rows usually detects
    smaller differences. A true difference of this size is found in half of the tests, one 1.43
    times as large in 80 %.
    """
    return float(_Z * np.sqrt(2) * standard_error)


def _group_scores(sums: Numbers, groups: Sequence[Sequence[Scores]]) -> list[Numbers]:
    """Return the scores [D, S] of each group from the summed statistics of all its members."""
    members = [one for group in groups for one in group]
    ends = np.cumsum([one.statistics.shape[1] for one in members])
    parts = iter(np.split(sums, ends[:-1], axis=1))
    return [np.stack([one.formula(next(parts)) for one in group], axis=1) for group in groups]


def _side_by_side(groups: Sequence[Sequence[Scores]]) -> Numbers:
    """Return the statistics of all members on the same N rows as one array [N, ...], in order."""
    return np.concatenate([one.statistics for group in groups for one in group], axis=1)
