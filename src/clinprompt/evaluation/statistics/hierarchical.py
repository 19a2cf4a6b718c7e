"""Hierarchical bootstrap of differences: resample targets, and in them seeds and test rows.

Knows nothing about methods, tables or files. Axes: D resamples, S seeds, T targets.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.random import Generator

from clinprompt.tasks.kinds.scores import Numbers

_TAIL = 0.025  # of a 95 % interval, on each side
_NORMAL = NormalDist().inv_cdf(1 - _TAIL)
# 97.5 % points of Student's distribution by degrees of freedom.
_STUDENT = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 1000: 1.962,
}  # fmt: skip


def over_seeds(differences: Numbers, generator: Generator) -> tuple[Numbers, Numbers]:
    """Return the mean difference over seeds [D], and what resampled seeds add to it [D].

    ``differences`` has those of each seed [D, S]. Each of the D entries comes from its own resample
    of the test rows. All seeds of an entry have the same rows, because all seeds are tested on the
    same rows. A resample of S seeds varies too little, by √((S - 1)/S), so what it adds is larger
    by the inverse.
    """
    num_resamples, num_seeds = differences.shape
    counts = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=num_resamples)
    mean = differences.mean(axis=1)
    added = (differences * counts).sum(axis=1) / num_seeds - mean
    wider = (num_seeds / (num_seeds - 1)) ** 0.5 if num_seeds > 1 else 0.0
    return np.asarray(mean), np.asarray(added * wider)


def interval_over_seeds(mean: Numbers, added: Numbers, num_seeds: int) -> tuple[float, float]:
    """Return the ends of a 95 % interval of a mean over few seeds, from ``over_seeds``.

    Percentiles of the bootstrap take the spread of few seeds for certain. Their distances from the
    center are widened by the ratio of Student's distribution to the normal one, with the degrees of
    freedom of a sum of two variances (Welch and Satterthwaite): S - 1 for the seeds, unlimited for
    the rows. Where rows decide the spread, nothing changes.
    """
    low, middle, high = np.quantile(mean + added, [_TAIL, 0.5, 1 - _TAIL])
    of_rows, of_seeds = float(mean.var()), float(added.var())
    if of_seeds == 0:
        return float(low), float(high)
    freedom = (num_seeds - 1) * ((of_rows + of_seeds) / of_seeds) ** 2
    wider = _student(freedom) / _NORMAL
    return float(middle - (middle - low) * wider), float(middle + (high - middle) * wider)


def _student(freedom: float) -> float:
    """Return the 97.5 % point of Student's distribution, between the known ones by 1 / freedom."""
    known = sorted(_STUDENT, reverse=True)
    points = [_NORMAL, *(_STUDENT[one] for one in known)]
    return float(np.interp(1 / freedom, [0.0, *(1 / one for one in known)], points))


def over_targets(targets: Sequence[Numbers], generator: Generator) -> Numbers:
    """Return the mean [D] over resampled targets, each with its own resample of seeds and rows.

    ``targets`` has the resampled differences [D] of each of T targets, as ``over_seeds`` returns
    them. A target that is drawn twice gets two independent resamples of its seeds and rows.
    """
    stacked = np.stack(targets)
    num_targets, num_resamples = stacked.shape
    size = (num_resamples, num_targets)
    chosen = generator.integers(num_targets, size=size)
    resample = generator.integers(num_resamples, size=size)
    return np.asarray(stacked[chosen, resample].mean(axis=1))


def expanded_interval(resampled: Numbers, num_units: int) -> tuple[float, float]:
    """Return the ends of a 95 % interval of a mean over few units, such as targets.

    Percentiles of a bootstrap are too narrow for a mean over n units. They are taken at
    Φ(-√(n/(n - 1)) · t) instead of 2.5 %, with t the point of Student's distribution with n - 1
    degrees of freedom: the expanded percentile interval (arXiv 1411.5279, section 5.3). One unit
    has plain percentiles.
    """
    tail = _TAIL
    if num_units > 1:
        wide = (num_units / (num_units - 1)) ** 0.5 * _student(num_units - 1)
        tail = NormalDist().cdf(-wide)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
