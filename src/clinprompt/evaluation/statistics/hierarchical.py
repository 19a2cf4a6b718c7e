"""Hierarchical bootstrap of differences: resample targets, and in them seeds and test rows.

Knows nothing about methods, tables or files. Axes: D resamples, S seeds, T targets.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.random import Generator

from clinprompt.tasks.kinds.scores import Numbers

_TAIL = 0.025  # of a 95 % interval, on each side
# 97.5 % points of Student's distribution by degrees of freedom; for more, the next smaller entry.
_STUDENT = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 1000: 1.962,
}  # fmt: skip


def over_seeds(differences: Numbers, generator: Generator) -> Numbers:
    """Return the mean difference [D] over resampled seeds, from differences of each seed [D, S].

    Each of the D entries comes from its own resample of the test rows. All seeds of an entry have
    the same rows, because all seeds are tested on the same rows.
    """
    num_resamples, num_seeds = differences.shape
    counts = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=num_resamples)
    return np.asarray((differences * counts).sum(axis=1) / num_seeds)


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
        point = _STUDENT[max(known for known in _STUDENT if known < num_units)]
        wide = (num_units / (num_units - 1)) ** 0.5 * point
        tail = NormalDist().cdf(-wide)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
