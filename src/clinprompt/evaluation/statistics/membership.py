"""Attack the membership of rows by likelihood ratios (LiRA), and measure how often that is right.

Carlini et al., Membership inference attacks from first principles, 2022 (arXiv 2112.03570). Shadows
are models that were trained like the attacked one, each on other rows. Knows nothing of models.

Axes: S shadows, N rows, M members, O others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
FALSE_POSITIVES = 0.05
_LEAST_LOSS = 1e-7  # nats; a lower one is rounding
_LEAST_VARIANCE = 1e-12  # of shadows that are all alike, because nothing was trained


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether the interval contains a value."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class AttackResult:
    """How well an attack finds the members.

    ``auc`` is the probability that a random member has a higher score than a random other row (0.5:
    a guess). ``true_positives`` is the share of the members that are found if at most 5 % of the
    other rows are taken for members (0.05: a guess).
    """

    auc: Estimate
    true_positives: Estimate


def confidence(losses: Numbers) -> Numbers:
    """Return log(p / (1 − p)) of p = exp(−loss), which is about normal over shadows.

    ``losses`` are means over the target tokens of a row, in nats, so p is the geometric mean of the
    probabilities of its tokens.
    """
    return np.asarray(-np.log(np.expm1(np.maximum(losses, _LEAST_LOSS))))


def likelihood_ratios(scores: Numbers, shadows: Numbers, trained: Flags, held: Flags) -> Numbers:
    """Return for each row [N] how much likelier its score is if it was trained on, in nats.

    The online attack: ``scores`` [N] of the attacked model are compared with two normal
    distributions of each row, fitted to ``shadows`` [S, N] that were trained on the row and to
    those that never read it. ``trained`` [S, N] says which were, and ``held`` [S, N] which read the
    row only to choose their best state, and belong to neither. Each row needs a shadow of both
    kinds. The variances are the same for all rows, as the paper advises for few shadows.
    """
    log_in = _log_density(scores, shadows, trained)
    log_out = _log_density(scores, shadows, ~trained & ~held)
    return log_in - log_out


def attack(
    members: Numbers, others: Numbers, generator: Generator, *, num_draws: int = 2000
) -> AttackResult:
    """Return how well scores tell members [M] from other rows [O], with intervals over rows.

    Members and others are resampled separately. The intervals do not cover the choice of shadows.
    """
    drawn = [
        (
            generator.choice(members, size=len(members)),
            generator.choice(others, size=len(others)),
        )
        for _ in range(num_draws)
    ]

    def estimate(statistic: Callable[[Numbers, Numbers], float]) -> Estimate:
        low, high = np.quantile([statistic(*one) for one in drawn], [0.025, 0.975])
        return Estimate(statistic(members, others), float(low), float(high))

    return AttackResult(estimate(auc), estimate(true_positive_rate))


def auc(members: Numbers, others: Numbers) -> float:
    """Return the probability that a member has a higher score than another row; ties count half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, side="left")
    not_above = np.searchsorted(ordered, members, side="right")
    return float((below + not_above).mean() / (2 * len(others)))


def true_positive_rate(members: Numbers, others: Numbers) -> float:
    """Return the share of members above a threshold that at most 5 % of the others are above."""
    num_allowed = int(FALSE_POSITIVES * len(others))
    threshold = np.sort(others)[-1 - num_allowed]
    return float((members > threshold).mean())


def _log_density(scores: Numbers, shadows: Numbers, chosen: Flags) -> Numbers:
    """Return the log-density [N] of each score in the normal distribution of its chosen shadows."""
    counts = chosen.sum(axis=0)
    assert counts.all(), "each row needs a shadow of both kinds"
    means = np.where(chosen, shadows, 0.0).sum(axis=0) / counts
    squares = np.where(chosen, (shadows - means) ** 2, 0.0).sum()
    variance = max(float(squares / max(1, (counts - 1).sum())), _LEAST_VARIANCE)
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + (scores - means) ** 2 / variance))
