"""Summarize cells over seeds, with intervals over test rows. Knows nothing about tables or tests.

All cells of a call are of one backbone. Axes: D resamples of rows, S seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np
from numpy.random import Generator

from clinprompt.evaluation.cells import Cell, shots_order
from clinprompt.evaluation.metrics import stored_scores
from clinprompt.evaluation.statistics.significance import bootstrap_groups
from clinprompt.settings.groups import Shots
from clinprompt.tasks.kinds.scores import Numbers, Scores

SummaryKey = tuple[str, str, Shots]  # target, method, shots


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """The mean over seeds for one target, method and number of shots, with its 95 % interval.

    If all cells have statistics of the same rows, ``scores`` has one score for each seed, in the
    order of ``cells``, and ``seed_draws`` [D, S] are the scores of each seed in resamples of these
    rows. Methods on the same rows share the resamples; targets are resampled independently.
    """

    target: str
    method: str
    shots: Shots
    value: float
    low: float
    high: float
    cells: tuple[Cell, ...]
    scores: tuple[Scores, ...] = ()
    seed_draws: Numbers | None = None

    @property
    def draws(self) -> Numbers | None:
        """Return the mean scores over seeds [D] in resamples of the rows."""
        return None if self.seed_draws is None else np.asarray(self.seed_draws.mean(axis=1))

    @property
    def num_seeds(self) -> int:
        """Return the number of seeds."""
        return len(self.cells)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds in order."""
        return tuple(cell.seed for cell in self.cells)

    @property
    def row_digest(self) -> str:
        """Return the digest of the test rows; empty without scores."""
        return self.cells[0].row_digest if self.scores else ""

    @property
    def spread(self) -> float:
        """Return the standard deviation over seeds; 0 for one seed."""
        return stdev(cell.value for cell in self.cells) if self.num_seeds > 1 else 0.0


Summaries = Mapping[SummaryKey, Summary]
Grid = Mapping[tuple[str, str], Summary]  # target, method: one number of shots


def summarize(
    cells: Iterable[Cell], generator: Generator, *, num_draws: int = 2000
) -> dict[SummaryKey, Summary]:
    """Return one summary for each target, method and number of shots, in order of appearance.

    The interval of several seeds comes from resampling the rows for all seeds at once. One seed
    keeps its stored interval. Without statistics the stored interval ends are averaged over seeds.
    """
    summaries = _without_draws(cells)
    on_rows: dict[tuple[str, str, int], list[SummaryKey]] = {}
    for key, one in summaries.items():
        if one.scores:
            place = (one.target, one.row_digest, one.scores[0].num_rows)
            on_rows.setdefault(place, []).append(key)
    for keys in on_rows.values():
        groups = [summaries[key].scores for key in keys]
        drawn = bootstrap_groups(groups, generator, num_draws=num_draws)
        for key, draws in zip(keys, drawn, strict=True):
            summaries[key] = _with_draws(summaries[key], draws)
    return summaries


def at_shots(summaries: Summaries, shots: Shots) -> dict[tuple[str, str], Summary]:
    """Return the summaries at one number of shots by target and method."""
    return {(one.target, one.method): one for one in summaries.values() if one.shots == shots}


def all_shots(summaries: Summaries) -> list[Shots]:
    """Return every number of shots, fewest first."""
    return sorted({one.shots for one in summaries.values()}, key=shots_order)


def methods_of(summaries: Iterable[Summary]) -> list[str]:
    """Return the methods in order of appearance."""
    return list(dict.fromkeys(one.method for one in summaries))


def targets_of(summaries: Iterable[Summary]) -> list[str]:
    """Return the targets in order of appearance."""
    return list(dict.fromkeys(one.target for one in summaries))


def types_of(summaries: Iterable[Summary]) -> dict[str, list[str]]:
    """Return the targets of each task type, in order of appearance."""
    types: dict[str, list[str]] = {}
    for one in summaries:
        members = types.setdefault(one.cells[0].task_type, [])
        if one.target not in members:
            members.append(one.target)
    return types


def mean_over_targets(summaries: Iterable[Summary]) -> tuple[float, float, float]:
    """Return the mean over targets, and the low and high end of its interval.

    The test rows of targets are independent. The interval is that of the mean of the targets'
    draws. If a target has no draws, the half widths of all are combined as independent errors:
    √(Σ half²) / number of targets.
    """
    group = list(summaries)
    value = fmean(one.value for one in group)
    if len(group) == 1:
        return value, group[0].low, group[0].high
    draws = [one.draws for one in group if one.draws is not None]
    if len(draws) == len(group):
        return value, *interval_ends(np.mean(draws, axis=0))
    below = sum((one.value - one.low) ** 2 for one in group) ** 0.5 / len(group)
    above = sum((one.high - one.value) ** 2 for one in group) ** 0.5 / len(group)
    return value, value - below, value + above


def interval_ends(draws: Numbers) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of draws [D]."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _without_draws(cells: Iterable[Cell]) -> dict[SummaryKey, Summary]:
    groups: dict[SummaryKey, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.target, cell.method, cell.shots), []).append(cell)
    assert len({cell.backbone for group in groups.values() for cell in group}) <= 1
    return {key: _summary(key, group) for key, group in groups.items()}


def _summary(key: SummaryKey, group: Sequence[Cell]) -> Summary:
    ordered = tuple(sorted(group, key=lambda cell: cell.seed))
    return Summary(
        *key,
        value=fmean(cell.value for cell in ordered),
        low=fmean(cell.low for cell in ordered),
        high=fmean(cell.high for cell in ordered),
        cells=ordered,
        scores=_scores(ordered),
    )


def _scores(cells: Sequence[Cell]) -> tuple[Scores, ...]:
    """Return one score for each cell, or none if the cells cannot be resampled together."""
    kinds = {(one.row_digest, one.metric, len(one.statistics)) for one in cells}
    if len(kinds) > 1 or not all(one.statistics for one in cells):
        return ()
    return tuple(stored_scores(one.metric, one.scorer, one.statistics) for one in cells)


def _with_draws(summary: Summary, seed_draws: Numbers) -> Summary:
    if summary.num_seeds == 1:
        return replace(summary, seed_draws=seed_draws)
    low, high = interval_ends(np.asarray(seed_draws.mean(axis=1)))
    return replace(summary, low=low, high=high, seed_draws=seed_draws)
