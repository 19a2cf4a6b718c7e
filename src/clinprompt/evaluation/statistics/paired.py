"""Compare methods on the same rows: differences, ranks. Knows nothing about tables or files.

All results here are of one backbone and one number of shots. The *reference* is the method that the
others are compared with. Axes: D resamples, S seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
from numpy.random import Generator

from clinprompt.evaluation.statistics.hierarchical import (
    expanded_interval,
    interval_over_seeds,
    over_seeds,
    over_targets,
)
from clinprompt.evaluation.statistics.summaries import (
    Grid,
    Summary,
    methods_of,
    targets_of,
)
from clinprompt.tasks.kinds.scores import Numbers

MEAN = "mean"  # used in place of a target's name
NUM_LEFT_OUT = 2  # targets without which a mean difference is shown once more
_ROUNDING = 1e-12  # scores that differ by less are equal
Place = tuple[str, str]  # method, target or MEAN
_RowsAndSeeds = dict[str, tuple[str, tuple[int, ...]]]  # of a method, by target


@dataclass(frozen=True, slots=True)
class Difference:
    """The score of a method minus that of the reference, on one target or as mean over targets.

    The 95 % interval resamples the seeds and the test rows, both methods alike; that of a mean
    resamples the targets as well. ``by_seed`` has the difference of each seed. ``without`` names
    the targets that are left out of the mean.
    """

    value: float
    low: float
    high: float
    by_seed: Mapping[int, float] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def is_clear(self) -> bool:
        """Return whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods compared with one reference.

    ``targets`` are those of the ``num_targets`` targets on which the reference and all methods have
    results; means are over them. ``left_out`` gives the reason for each missing difference.
    ``remaining`` is the mean of a method without the two targets that contribute most to it.
    """

    reference: str
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    num_targets: int
    differences: Mapping[Place, Difference]
    left_out: Mapping[Place, str]
    remaining: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """On how many targets a method is better or worse than the reference.

    The interval of the difference excludes 0 on wins and losses, and includes it on ties.
    ``higher`` and ``lower`` count scores alone.
    """

    wins: int
    ties: int
    losses: int
    higher: int
    lower: int


def compare(
    grid: Grid,
    methods: Sequence[str],
    reference: str,
    generator: Generator,
    *,
    each_target: bool = True,
) -> Comparison:
    """Compare methods with the reference on every target and on the mean over common targets.

    A difference needs the same rows, metric and seeds on both sides. Without ``each_target``, only
    the means are returned.
    """
    names = targets_of(grid.values())
    targets = common_targets(grid, [reference, *methods])
    paired: dict[Place, _Paired] = {}
    left_out: dict[Place, str] = {}
    for target in names if each_target else targets:
        pairs, reasons = _pairs(grid, target, methods, reference)
        left_out |= reasons
        paired |= {place: _paired(*pair, generator) for place, pair in pairs.items()}
    shown = {place: one.difference() for place, one in paired.items()} if each_target else {}
    remaining: dict[str, Difference] = {}
    for method in methods:
        own = {name: paired[method, name] for name in targets if (method, name) in paired}
        if not targets:
            left_out[method, MEAN] = "no common target"
        elif len(own) < len(targets):
            left_out[method, MEAN] = "not compared on every target"
        else:
            shown[method, MEAN] = _mean(own, generator)
            if len(own) > NUM_LEFT_OUT:
                remaining[method] = _without_largest(own, generator)
    counts = tuple(targets), len(names)
    return Comparison(reference, tuple(methods), *counts, shown, left_out, remaining)


def why_unpaired(first: Summary | None, second: Summary | None) -> str:
    """Return why two summaries cannot be compared row by row; empty if they can."""
    if first is None or second is None:
        return "no result"
    if not first.row_digest or not second.row_digest:
        return "no statistics by row"
    if first.row_digest != second.row_digest:
        return "different test rows"
    if first.seeds != second.seeds:
        return "different seeds"
    shapes = {(one.metric, one.statistics.shape) for one in (*first.scores, *second.scores)}
    return "" if len(shapes) == 1 else "a different metric"


def common_targets(grid: Grid, methods: Iterable[str]) -> list[str]:
    """Return the targets on which all of the methods have a result."""
    names = list(methods)
    return [
        target
        for target in targets_of(grid.values())
        if all((target, method) in grid for method in names)
    ]


def ablated(summaries: Iterable[Summary]) -> set[str]:
    """Return the methods that are ablations of another method in the summaries.

    These are variants, METHOD@VARIANT, that are marked as ablations. Other variants count as
    methods.
    """
    group = list(summaries)
    methods = {one.method for one in group}
    return {
        one.method
        for one in group
        if one.cells[0].is_ablation and one.method.partition("@")[0] in methods
    }


def ranked(grid: Grid) -> tuple[list[str], list[str]]:
    """Return the methods that can be ranked, and those with different seeds or test rows.

    The rows and seeds of the largest group of methods count; in a tie, those with more seeds.
    """
    names = methods_of(grid.values())
    kinds: dict[str, _RowsAndSeeds] = {name: {} for name in names}
    for (target, method), one in grid.items():
        kinds[method][target] = (one.row_digest, one.seeds)

    def weight(name: str) -> tuple[int, int]:
        alike = sum(_agree(kinds[name], other) for other in kinds.values())
        return alike, max(len(seeds) for _, seeds in kinds[name].values())

    lead = kinds[max(names, key=weight)] if names else {}
    apart = [name for name in names if not _agree(kinds[name], lead)]
    return [name for name in names if name not in apart], apart


def mean_ranks(grid: Grid, methods: Sequence[str]) -> dict[str, float]:
    """Return the mean rank of each method (1 is best) over the targets that all methods have.

    Equal scores get the mean of their ranks. Without a common target there are no ranks.
    """
    ranks: dict[str, list[float]] = {method: [] for method in methods}
    for target in common_targets(grid, methods):
        values = {method: round(grid[target, method].value, 12) for method in methods}
        for method, value in values.items():
            num_better = sum(other > value for other in values.values())
            num_equal = sum(other == value for other in values.values())
            ranks[method].append(num_better + (1 + num_equal) / 2)
    return {method: fmean(found) for method, found in ranks.items() if found}


def record(comparison: Comparison, method: str) -> Record:
    """Count the common targets on which a method is better or worse than the reference."""
    found = [
        comparison.differences[method, target]
        for target in comparison.targets
        if (method, target) in comparison.differences
    ]
    clear = [one.value for one in found if one.is_clear]
    wins, losses = sum(v > 0 for v in clear), sum(v < 0 for v in clear)
    return Record(
        wins=wins,
        ties=len(found) - wins - losses,
        losses=losses,
        higher=sum(one.value > _ROUNDING for one in found),
        lower=sum(one.value < -_ROUNDING for one in found),
    )


def _agree(one: _RowsAndSeeds, other: _RowsAndSeeds) -> bool:
    """Return whether two methods have the same rows and seeds on all targets that both have."""
    return all(one[target] == other[target] for target in one.keys() & other.keys())


@dataclass(frozen=True, slots=True, eq=False)
class _Paired:
    """The difference of each seed on one target, and what ``over_seeds`` returns of them."""

    by_seed: Mapping[int, float]
    mean: Numbers
    added: Numbers

    @property
    def value(self) -> float:
        return fmean(self.by_seed.values())

    @property
    def resampled(self) -> Numbers:
        return np.asarray(self.mean + self.added)

    def difference(self) -> Difference:
        ends = interval_over_seeds(self.mean, self.added, len(self.by_seed))
        return Difference(self.value, *ends, self.by_seed)


def _pairs(
    grid: Grid, target: str, methods: Sequence[str], reference: str
) -> tuple[dict[Place, tuple[Summary, Summary]], dict[Place, str]]:
    """Return the pairs of reference and method on a target, and why the other methods have none."""
    pairs: dict[Place, tuple[Summary, Summary]] = {}
    reasons: dict[Place, str] = {}
    first = grid.get((target, reference))
    for method in methods:
        second = grid.get((target, method))
        reason = why_unpaired(first, second)
        if reason or first is None or second is None:
            reasons[method, target] = reason
        else:
            pairs[method, target] = (first, second)
    return pairs, reasons


def _paired(first: Summary, second: Summary, generator: Generator) -> _Paired:
    assert first.seed_draws is not None, "scores come with draws"
    assert second.seed_draws is not None, "scores come with draws"
    cells = zip(first.cells, second.cells, strict=True)
    return _Paired(
        {one.seed: other.value - one.value for one, other in cells},
        *over_seeds(second.seed_draws - first.seed_draws, generator),
    )


def _mean(own: Mapping[str, _Paired], generator: Generator) -> Difference:
    """Return the mean over targets, and that of each seed which all of them have."""
    parts = list(own.values())
    resampled = over_targets([one.resampled for one in parts], generator)
    shared = [seed for seed in parts[0].by_seed if all(seed in one.by_seed for one in parts)]
    return Difference(
        fmean(one.value for one in parts),
        *expanded_interval(resampled, len(parts)),
        {seed: fmean(one.by_seed[seed] for one in parts) for seed in shared},
    )


def _without_largest(own: Mapping[str, _Paired], generator: Generator) -> Difference:
    """Return the mean without the two targets that move it most toward its own sign."""
    sign = 1 if fmean(one.value for one in own.values()) >= 0 else -1
    largest = sorted(own, key=lambda name: sign * own[name].value, reverse=True)[:NUM_LEFT_OUT]
    rest = {name: one for name, one in own.items() if name not in largest}
    return replace(_mean(rest, generator), without=tuple(largest))
