"""Compare methods on the same rows: differences, tests, ranks. Knows nothing about tables or files.

All results here are of one backbone and one number of shots. The *reference* is the method that the
others are compared with. Axes: D draws.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.random import Generator

from clinprompt.evaluation.statistics.significance import holm, p_value, swapped_differences
from clinprompt.evaluation.statistics.summaries import (
    Grid,
    Summary,
    interval_ends,
    methods_of,
    targets_of,
)
from clinprompt.tasks.kinds.scores import Numbers

MEAN = "mean"  # used in place of a target's name
SIGNIFICANT = 0.05
NUM_SWAPS = 10_000  # enough for p-values below 5 % after the correction for 100 tests or more
_ROUNDING = 1e-12  # scores that differ by less are equal
Place = tuple[str, str]  # method, target or MEAN
_RowsAndSeeds = dict[str, tuple[str, tuple[int, ...]]]  # of a method, by target


@dataclass(frozen=True, slots=True)
class Difference:
    """The score of a method minus that of the reference, on one target or as mean over targets.

    The interval is a paired bootstrap (both methods on the same resampled rows), ``p_value`` that
    of a paired permutation test. ``corrected`` is the p-value after Holm's correction for the
    number of means in the comparison, or for the number of its single targets.
    """

    value: float
    low: float
    high: float
    p_value: float
    corrected: float = 1.0

    @property
    def is_significant(self) -> bool:
        """Return whether the corrected p-value is at most 5 %."""
        return self.corrected <= SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods compared with one reference.

    ``targets`` are those of the ``num_targets`` targets on which the reference and all methods have
    results; means are over them. ``left_out`` gives the reason for each missing difference.
    """

    reference: str
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    num_targets: int
    differences: Mapping[Place, Difference]
    left_out: Mapping[Place, str]


@dataclass(frozen=True, slots=True)
class Record:
    """On how many targets a method is better or worse than the reference.

    Wins and losses are significant after correction, ties are not. ``higher`` and ``lower`` count
    scores without a test.
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
    num_draws: int = NUM_SWAPS,
) -> Comparison:
    """Compare methods with the reference on every target and on the mean over common targets.

    The test on a target swaps rows, all seeds of a row together; the test of the mean swaps rows
    within each target. Holm's correction counts all returned differences; without ``each_target``
    these are only the means. A difference needs the same rows, metric and seeds on both sides.
    """
    names = targets_of(grid.values())
    targets = common_targets(grid, [reference, *methods])
    paired: dict[Place, _Paired] = {}
    left_out: dict[Place, str] = {}
    for target in names if each_target else targets:
        pairs, reasons = _pairs(grid, target, methods, reference)
        left_out |= reasons
        paired |= _paired(pairs, generator, num_draws)
    means, without = _means(paired, methods, targets)
    shown = (paired if each_target else {}) | means
    differences = _corrected({place: one.difference() for place, one in shown.items()})
    counts = tuple(targets), len(names)
    return Comparison(reference, tuple(methods), *counts, differences, left_out | without)


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
    significant = [one.value for one in found if one.is_significant]
    wins, losses = sum(v > 0 for v in significant), sum(v < 0 for v in significant)
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
    """A difference, and its values after resampling rows [D] and after swapping rows [D]."""

    value: float
    resampled: Numbers
    swapped: Numbers

    def difference(self) -> Difference:
        return Difference(
            self.value, *interval_ends(self.resampled), p_value(self.value, self.swapped)
        )


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


def _paired(
    pairs: Mapping[Place, tuple[Summary, Summary]], generator: Generator, num_draws: int
) -> dict[Place, _Paired]:
    scores = [(first.scores, second.scores) for first, second in pairs.values()]
    swapped = swapped_differences(scores, generator, num_draws=num_draws)
    found = {}
    for (place, (first, second)), swaps in zip(pairs.items(), swapped, strict=True):
        assert first.draws is not None, "scores come with draws"
        assert second.draws is not None, "scores come with draws"
        value = second.value - first.value
        found[place] = _Paired(value, second.draws - first.draws, swaps)
    return found


def _means(
    paired: Mapping[Place, _Paired], methods: Sequence[str], targets: Sequence[str]
) -> tuple[dict[Place, _Paired], dict[Place, str]]:
    """Return the mean of each method over the targets, and why other methods have none."""
    means: dict[Place, _Paired] = {}
    left_out: dict[Place, str] = {}
    for method in methods:
        parts = [paired[method, name] for name in targets if (method, name) in paired]
        if not targets:
            left_out[method, MEAN] = "no common target"
        elif len(parts) < len(targets):
            left_out[method, MEAN] = "not compared on every target"
        else:
            means[method, MEAN] = _Paired(
                fmean(one.value for one in parts),
                np.asarray(np.mean([one.resampled for one in parts], axis=0)),
                np.asarray(np.mean([one.swapped for one in parts], axis=0)),
            )
    return means, left_out


def _corrected(differences: Mapping[Place, Difference]) -> dict[Place, Difference]:
    """Correct the p-values: those of means for their number, those of single targets for theirs."""
    corrected = dict(differences)
    for is_mean in (True, False):
        family = [place for place in differences if (place[1] == MEAN) == is_mean]
        adjusted = holm([differences[place].p_value for place in family])
        for place, value in zip(family, adjusted, strict=True):
            corrected[place] = replace(differences[place], corrected=value)
    return corrected
