"""Lay out comparisons of methods as tables of strings. Knows nothing about files or figures."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator

from clinprompt.evaluation.cells import shots_name
from clinprompt.evaluation.report.score_tables import MISSING, Table, mean_text, without_ablations
from clinprompt.evaluation.statistics.paired import (
    MEAN,
    NUM_SWAPS,
    Comparison,
    Difference,
    Record,
    ablated,
    common_targets,
    compare,
    mean_ranks,
    ranked,
    record,
)
from clinprompt.evaluation.statistics.summaries import (
    Grid,
    Summaries,
    all_shots,
    at_shots,
    methods_of,
    targets_of,
    types_of,
)
from clinprompt.settings.groups import Shots, split_method

_SEED = 1  # the same cells give the same tables
_TEST_NOTE = (
    "Score minus the score of {reference} on the same test rows. Brackets: 95 % interval, paired "
    f"bootstrap. p: paired permutation test ({NUM_SWAPS:,} draws that swap rows, all seeds of a "
    "row together), with Holm's correction for {num_means} means and for {num_single} single "
    "targets."
)


def comparison_tables(summaries: Summaries, references: Sequence[str]) -> list[Table]:
    """Return differences to the references, ranks and ablations of one backbone, by shots.

    Cells without statistics by row, from earlier versions, only have ranks.
    """
    generator = np.random.default_rng(_SEED)
    main = without_ablations(summaries)
    tables: list[Table] = []
    for shots in all_shots(summaries):
        grid = at_shots(main, shots)
        comparisons = _comparisons(grid, references, generator)
        tables += [difference_table(one, targets_of(grid.values()), shots) for one in comparisons]
        tables += rank_tables(grid, comparisons, shots)
        tables += ablation_tables(at_shots(summaries, shots), shots, generator)
    return tables


def type_tables(summaries: Summaries) -> list[Table]:
    """Return the means over the targets of each task type, a table for each number of shots.

    There is no table if every type has one target, because it would repeat the scores.
    """
    main = without_ablations(summaries)
    return [
        _type_table(at_shots(main, shots), shots)
        for shots in all_shots(main)
        if max(map(len, types_of(at_shots(main, shots).values()).values())) > 1
    ]


def difference_table(comparison: Comparison, targets: Sequence[str], shots: Shots) -> Table:
    """Return a table of targets by methods: difference, interval and corrected p-value."""
    rows = [
        [
            name,
            *(
                difference_text(comparison.differences.get((method, name)))
                for method in comparison.methods
            ),
        ]
        for name in [*targets, MEAN]
    ]
    title = f"Difference to {comparison.reference}, {shots_name(shots)}"
    return Table(title, ["target", *comparison.methods], rows, _notes(comparison))


def rank_tables(grid: Grid, comparisons: Iterable[Comparison], shots: Shots) -> list[Table]:
    """Return a table of mean ranks and of wins against each reference; none for one method."""
    methods, not_ranked = ranked(grid)
    ranks = mean_ranks(grid, methods)
    if len(methods) < 2 or not ranks:
        return []
    against = list(comparisons)
    rows = [
        [method, f"{ranks[method]:.2f}", *(_record_text(one, method) for one in against)]
        for method in sorted(methods, key=lambda name: ranks[name])
    ]
    num_common, num_targets = len(common_targets(grid, methods)), len(targets_of(grid.values()))
    notes = [
        f"Mean rank (1 is best) over the {num_common} of {num_targets} targets that all methods "
        "have; equal scores get their mean rank."
    ]
    if not_ranked:
        names = ", ".join(not_ranked)
        notes.append(f"Not ranked, because their seeds or test rows differ: {names}.")
    if against:
        notes.append(
            "Against: wins-ties-losses on targets; wins and losses are significant after the "
            "correction in the table of differences. In parentheses: on how many targets the score "
            "is higher and lower, without a test."
        )
    elif not any(one.scores for one in grid.values()):
        notes.append("No tests: the results have no statistics by row.")
    header = ["method", "mean rank", *(f"against {one.reference}" for one in against)]
    return [Table(f"Ranks, {shots_name(shots)}", header, rows, " ".join(notes))]


def ablation_tables(grid: Grid, shots: Shots, generator: Generator) -> list[Table]:
    """Return a table for each method that has ablations, with the plain form and each of them."""
    found = ablated(grid.values())
    variants: dict[str, list[str]] = {}
    for method in methods_of(grid.values()):
        if method in found:
            variants.setdefault(method.partition("@")[0], []).append(method)
    return [
        _ablation_table(compare(grid, names, base, generator, each_target=False), grid, shots)
        for base, names in variants.items()
    ]


def difference_text(difference: Difference | None) -> str:
    """Return ``+0.05 [0.01, 0.09], p = 0.012``."""
    if difference is None:
        return MISSING
    ends = f"[{difference.low:+.2f}, {difference.high:+.2f}]"
    p_value = difference.corrected
    probability = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return f"{difference.value:+.2f} {ends}, {probability}"


def _comparisons(grid: Grid, references: Sequence[str], generator: Generator) -> list[Comparison]:
    """Compare the methods with each reference among them, if rows can be compared."""
    methods = methods_of(grid.values())
    if len(methods) < 2 or not any(one.scores for one in grid.values()):
        return []
    found = [one for name in references for one in methods if split_method(one)[0] == name]
    return [
        compare(grid, [name for name in methods if name != reference], reference, generator)
        for reference in found
    ]


def _type_table(grid: Grid, shots: Shots) -> Table:
    methods = methods_of(grid.values())
    rows = [
        [f"{name} ({len(targets)})", *(_type_mean(grid, targets, method) for method in methods)]
        for name, targets in types_of(grid.values()).items()
    ]
    note = "Mean over the targets of a type (their number in parentheses); intervals as above."
    return Table(f"Means by task type, {shots_name(shots)}", ["type", *methods], rows, note)


def _type_mean(grid: Grid, targets: Sequence[str], method: str) -> str:
    found = [grid[target, method] for target in targets if (target, method) in grid]
    return mean_text(found, len(targets))


def _ablation_table(comparison: Comparison, grid: Grid, shots: Shots) -> Table:
    base, targets = comparison.reference, comparison.targets
    rows = []
    for method in (base, *comparison.methods):
        mean = mean_text([grid[target, method] for target in targets], len(targets))
        difference = comparison.differences.get((method, MEAN))
        variant = method.partition("@")[2] or "plain"
        rows.append([variant, mean, MISSING if method == base else difference_text(difference)])
    title = f"Ablations of {base}, {shots_name(shots)}"
    header = ["variant", "mean over targets", "difference"]
    return Table(title, header, rows, _notes(comparison))


def _notes(comparison: Comparison) -> str:
    """Return how it was tested, what means are over, and which comparisons are missing and why."""
    num_means = sum(target == MEAN for _, target in comparison.differences)
    num_single = len(comparison.differences) - num_means
    tested = _TEST_NOTE.format(
        reference=comparison.reference, num_means=num_means, num_single=num_single
    )
    averaged = (
        f"Means are over the {len(comparison.targets)} of {comparison.num_targets} targets that "
        "all of these methods have."
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for (method, target), reason in comparison.left_out.items():
        reasons.setdefault((method, reason), []).append(target)
    texts = [
        f"{method} on {', '.join(targets)} ({reason})"
        for (method, reason), targets in reasons.items()
    ]
    return " ".join([tested, averaged, *([f"Not compared: {'; '.join(texts)}."] if texts else [])])


def _record_text(comparison: Comparison, method: str) -> str:
    if method == comparison.reference:
        return MISSING
    if not any((method, target) in comparison.differences for target in comparison.targets):
        return MISSING
    counts: Record = record(comparison, method)
    bare = f"({counts.higher} higher, {counts.lower} lower)"
    return f"{counts.wins}-{counts.ties}-{counts.losses} {bare}"
