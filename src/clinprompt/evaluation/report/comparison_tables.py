"""Lay out comparisons of methods as tables of strings. Knows nothing about files or figures."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator

from clinprompt.evaluation.cells import shots_name
from clinprompt.evaluation.report.score_tables import MISSING, Table, mean_text, without_ablations
from clinprompt.evaluation.statistics.paired import (
    MEAN,
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
_NOTE = (
    "Score minus the score of {reference} on the same test rows and draws. Brackets: 95 % interval "
    "of a hierarchical bootstrap. It resamples the draws (seeds) of the training examples and the "
    "test rows, both methods alike; that of a mean resamples the targets as well, so it holds for "
    "targets like these. Both are widened for few draws and targets. Intervals are not corrected "
    "for the number of comparisons."
)
_ONE_SEED = "There is one draw, so no interval includes differences between draws."


def comparison_tables(summaries: Summaries, references: Sequence[str]) -> list[Table]:
    """Return differences to the references, ranks and ablations of one backbone, by shots.

    Cells without statistics by row, from earlier versions, only have ranks. Two forms of one
    method, such as two metaprompts, are compared directly.
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
    """Return a table of targets by methods, with the mean, its draws and what remains of it.

    The last row is the mean without the two targets that contribute most to it.
    """
    methods, found = comparison.methods, comparison.differences
    rows = [
        [name, *(difference_text(found.get((method, name))) for method in methods)]
        for name in [*targets, MEAN]
    ]
    means = [found.get((method, MEAN)) for method in methods]
    seeds = sorted({seed for one in means if one for seed in one.by_seed})
    if len(seeds) > 1:
        rows += [
            [f"mean, seed {seed}", *(_seed_text(one, seed) for one in means)] for seed in seeds
        ]
    if comparison.remaining:
        texts = (_remaining_text(comparison.remaining.get(method)) for method in methods)
        rows.append(["mean without two targets", *texts])
    title = f"Difference to {comparison.reference}, {shots_name(shots)}"
    return Table(title, ["target", *methods], rows, _notes(comparison))


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
            "Against: wins-ties-losses on targets; on wins and losses the interval in the table of "
            "differences excludes 0. In parentheses: on how many targets the score is higher and "
            "lower."
        )
    elif not any(one.scores for one in grid.values()):
        notes.append("No differences: the results have no statistics by row.")
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
    """Return ``+0.05 [+0.01, +0.09]``."""
    if difference is None:
        return MISSING
    return f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"


def _seed_text(difference: Difference | None, seed: int) -> str:
    has_seed = difference is not None and seed in difference.by_seed
    return f"{difference.by_seed[seed]:+.2f}" if difference and has_seed else MISSING


def _remaining_text(difference: Difference | None) -> str:
    """Return ``+0.02 [-0.01, +0.04] (without headqa, ncbi)``."""
    if difference is None:
        return MISSING
    return f"{difference_text(difference)} (without {', '.join(difference.without)})"


def _comparisons(grid: Grid, references: Sequence[str], generator: Generator) -> list[Comparison]:
    """Compare the methods with each reference among them, and the forms of other methods.

    The forms METHOD and METHOD@VARIANT of a method that is no reference are compared with each
    other, for instance the same method from two metaprompts.
    """
    methods = methods_of(grid.values())
    if len(methods) < 2 or not any(one.scores for one in grid.values()):
        return []
    found = [one for name in references for one in methods if split_method(one)[0] == name]
    pairs = [(one, [name for name in methods if name != one]) for one in found]
    for number, first in enumerate(methods):
        base = split_method(first)[0]
        forms = [name for name in methods[number + 1 :] if split_method(name)[0] == base]
        if forms and base not in references:
            pairs.append((first, forms))
    return [compare(grid, others, reference, generator) for reference, others in pairs]


def _type_table(grid: Grid, shots: Shots) -> Table:
    methods = methods_of(grid.values())
    rows = [
        [f"{name} ({len(targets)})", *(_type_mean(grid, targets, method) for method in methods)]
        for name, targets in types_of(grid.values()).items()
    ]
    note = (
        "Mean over the targets of a type (their number in parentheses), with a 95 % bootstrap "
        "interval over test rows."
    )
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
    """Return how to read the intervals, what means are over, and what is missing and why."""
    noted = _NOTE.format(reference=comparison.reference)
    if all(len(one.by_seed) < 2 for one in comparison.differences.values()):
        noted = f"{noted} {_ONE_SEED}"
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
    return " ".join([noted, averaged, *([f"Not compared: {'; '.join(texts)}."] if texts else [])])


def _record_text(comparison: Comparison, method: str) -> str:
    if method == comparison.reference:
        return MISSING
    if not any((method, target) in comparison.differences for target in comparison.targets):
        return MISSING
    counts: Record = record(comparison, method)
    bare = f"({counts.higher} higher, {counts.lower} lower)"
    return f"{counts.wins}-{counts.ties}-{counts.losses} {bare}"
