"""Lay out results as tables of strings. Knows nothing about files, figures or output formats."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from clinprompt.evaluation.cells import Cell, by_backbone, shots_name, shots_order
from clinprompt.evaluation.statistics.paired import ablated
from clinprompt.evaluation.statistics.summaries import (
    Summaries,
    Summary,
    all_shots,
    at_shots,
    mean_over_targets,
    summarize,
    targets_of,
)
from clinprompt.settings.groups import Shots, split_method

Column = tuple[str, Shots]  # method, shots
NOT_ABOVE = "≈"
MISSING = "-"
_SEED = 0  # the same cells give the same tables
_SCORE_NOTE = (
    "Brackets: 95 % percentile bootstrap over test rows. "
    f"{NOT_ABOVE}: not clearly better than chance and majority (the interval includes the better "
    "of the two). Chance: random labels, no spans or links, or the text of a random training "
    "answer. Majority: the most frequent training answer, no spans or links; for positive F1 the "
    "most frequent positive label. The interval of the mean resamples the rows of each target "
    "independently."
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The scores on a target without reading any text: random labels and a constant answer."""

    chance: float
    majority: float


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings with a note below it; HTML shows ``is_detail`` tables collapsed."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    is_detail: bool = False


def score_tables(
    cells: Sequence[Cell], baselines: Mapping[str, Baseline], shown_methods: Sequence[str] = ()
) -> list[Table]:
    """Return a table of scores for each backbone and number of shots."""
    tables = []
    for backbone, group in (groups := by_backbone(cells)).items():
        summaries = summarize(group, np.random.default_rng(_SEED))
        tables += headed(summary_tables(summaries, baselines, shown_methods), backbone, groups)
    return tables


def summary_tables(
    summaries: Summaries, baselines: Mapping[str, Baseline], shown_methods: Sequence[str]
) -> list[Table]:
    """Return the scores of one backbone without ablations, a table for each number of shots."""
    tables: list[Table] = []
    for shots in all_shots(summaries):
        chosen = {key: one for key, one in without_ablations(summaries).items() if key[2] == shots}
        rows_note = _rows_note(chosen, shots, shown_methods)
        notes = ["" if tables else _SCORE_NOTE, _seed_note(chosen), rows_note]
        note = " ".join(filter(None, notes))
        tables.append(Table(f"Scores, {shots_name(shots)}", *_score_rows(chosen, baselines), note))
    return tables


def without_ablations(summaries: Summaries) -> dict[tuple[str, str, Shots], Summary]:
    """Return the summaries without ablations, which are compared only with their plain form."""
    ablations = {
        (name, shots)
        for shots in all_shots(summaries)
        for name in ablated(at_shots(summaries, shots).values())
    }
    return {key: one for key, one in summaries.items() if key[1:] not in ablations}


def headed(tables: Iterable[Table], backbone: str, backbones: Iterable[str]) -> list[Table]:
    """Return the tables with the backbone in their titles, if there are several backbones."""
    if len(list(backbones)) == 1:
        return list(tables)
    return [replace(table, title=f"{backbone}: {table.title}") for table in tables]


def cost_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return the costs, error rates, scorers and details of the cells of one backbone."""
    return [_costs(cells), _rates(cells), _targets(cells), _details(cells)]


def columns_of(cells: Sequence[Cell]) -> list[Column]:
    """Return all (method, shots), fewest shots first, methods in order of appearance."""
    return _by_shots((cell.method, cell.shots) for cell in cells)


def column_name(column: Column) -> str:
    """Return ``lora, 16-shot`` or ``lora, zero-shot``."""
    method, shots = column
    return f"{method}, {shots_name(shots)}"


def bytes_text(count: float) -> str:
    """Return a size with a decimal unit, ``2.7 kB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def interval_text(value: float, low: float, high: float) -> str:
    """Return ``0.41 [0.33, 0.48]``."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def mean_text(group: Sequence[Summary], num_targets: int) -> str:
    """Return the mean over targets with its interval, and their number if some are missing."""
    if not group:
        return MISSING
    text = interval_text(*mean_over_targets(group))
    return text if len(group) == num_targets else f"{text} ({len(group)} of {num_targets})"


def _score_rows(
    summaries: Summaries, baselines: Mapping[str, Baseline]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of targets by method and shots; the last row is the mean.

    A score is written as ``0.41 [0.33, 0.48]``; a ``≈`` after it means that it is not clearly above
    the better of chance and majority. If targets are missing, the mean
    shows how many it includes.
    """
    targets = targets_of(summaries.values())
    columns = _by_shots((one.method, one.shots) for one in summaries.values())
    rows = []
    for target in targets:
        free = baselines.get(target)
        scores = [_score_text(summaries.get((target, *column)), free) for column in columns]
        rows.append([target, *_baseline_texts([free] if free else []), *scores])
    known = [baselines[target] for target in targets if target in baselines]
    groups = [[one for key, one in summaries.items() if key[1:] == column] for column in columns]
    means = [mean_text(group, len(targets)) for group in groups]
    complete = len(known) == len(targets)
    rows.append(["mean", *_baseline_texts(known if complete else []), *means])
    return ["target", "chance", "majority", *map(column_name, columns)], rows


def _by_shots(columns: Iterable[Column]) -> list[Column]:
    return sorted(dict.fromkeys(columns), key=lambda column: shots_order(column[1]))


def _baseline_texts(known: Sequence[Baseline]) -> list[str]:
    if not known:
        return [MISSING, MISSING]
    means = fmean(one.chance for one in known), fmean(one.majority for one in known)
    return [f"{mean:.2f}" for mean in means]


def _score_text(summary: Summary | None, free: Baseline | None) -> str:
    if summary is None:
        return MISSING
    text = interval_text(summary.value, summary.low, summary.high)
    if summary.num_seeds > 1:
        text = f"{text} ± {summary.spread:.2f}"
    not_above = free is not None and summary.low <= max(free.chance, free.majority)
    return f"{text} {NOT_ABOVE}" if not_above else text


def _range_text(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _seed_note(summaries: Summaries) -> str:
    group = list(summaries.values())
    counts = [one.num_seeds for one in group]
    if not group or max(counts) == 1:
        return "One seed: the intervals do not include differences between seeds."
    ends = "intervals resample the test rows for all seeds at once"
    if any(one.draws is None for one in group if one.num_seeds > 1):
        ends = "without statistics by row, interval ends are means over seeds too"
    return (
        f"Scores are means over {_range_text(counts)} seeds, ± their standard deviation; {ends}. "
        "The intervals do not include differences between seeds."
    )


def _rows_note(summaries: Summaries, shots: Shots, shown_methods: Sequence[str]) -> str:
    """Return a note on targets with fewer training rows than shots, or with all rows: how many.

    ``shown_methods`` train nothing: they read as many examples as fit into the context.
    """
    trained, shown = list[Summary](), list[Summary]()
    for one in summaries.values():
        (shown if split_method(one.method)[0] in shown_methods else trained).append(one)
    start = "Training rows" if shots == "all" else f"Fewer training rows than {shots}"
    notes = (
        _examples_note(start, trained, shots),
        _examples_note("In-context examples that fit into the context", shown, shots),
    )
    return " ".join(filter(None, notes))


def _examples_note(start: str, group: Sequence[Summary], shots: Shots) -> str:
    """Return the number of examples of targets that have fewer than ``shots``."""
    seen: dict[str, list[int]] = {}
    for one in group:
        counts = [cell.num_examples for cell in one.cells if cell.num_examples]
        if counts and (shots == "all" or min(counts) < shots):
            seen.setdefault(one.target, []).extend(counts)
    texts = [f"{target} {_range_text(counts)}" for target, counts in seen.items()]
    return f"{start}: {', '.join(texts)}." if texts else ""


def _costs(cells: Sequence[Cell]) -> Table:
    rows = []
    for column in columns_of(cells):
        group = [cell for cell in cells if (cell.method, cell.shots) == column]
        rows.append(
            [
                column_name(column),
                _range_text([cell.trained_numbers for cell in group]),
                bytes_text(fmean(cell.artifact_bytes for cell in group)),
                _range_text([cell.steps for cell in group]),
                f"{fmean(cell.train_seconds for cell in group):.1f}",
                f"{fmean(cell.evaluate_seconds for cell in group):.1f}",
                f"{fmean(cell.tokens_per_second for cell in group):.0f}",
                bytes_text(peak) if (peak := max(c.peak_bytes for c in group)) else MISSING,
            ]
        )
    header = [
        "method",
        "trainable parameters",
        "bytes",
        "steps",
        "train s",
        "evaluate s",
        "tokens/s",
    ]
    note = (
        "Means over targets and seeds; numbers and steps as a range. Peak memory: the maximum of "
        "the process over targets and seeds."
    )
    return Table("Costs per task", [*header, "peak memory"], rows, note)


def _rates(cells: Sequence[Cell]) -> Table:
    rows = []
    for column in columns_of(cells):
        group = [cell for cell in cells if (cell.method, cell.shots) == column]
        shares = (
            [cell.unparseable for cell in group],
            [cell.ungrounded for cell in group],
            [cell.truncated for cell in group],
        )
        texts = [f"{fmean(share):.1%} ({max(share):.1%})" for share in shares]
        rows.append([column_name(column), *texts])
    note = (
        "Mean over targets and seeds (maximum in parentheses). Unparseable: rows whose output "
        "could not be read. Ungrounded: mentions or links that are not in the text. Both count as "
        "wrong. Under the constraint on answers (`data.constrained`), both are 0."
    )
    header = ["method", "unparseable rows", "ungrounded mentions", "truncated inputs"]
    return Table("Unreadable outputs and cut inputs", header, rows, note)


def _targets(cells: Sequence[Cell]) -> Table:
    rows = []
    for target in dict.fromkeys(cell.target for cell in cells):
        group = [cell for cell in cells if cell.target == target]
        scorers = "; ".join(dict.fromkeys(cell.scorer for cell in group))
        num_rows = _range_text([cell.num_rows for cell in group])
        detectable = f"{max(cell.detectable for cell in group):.2f}"
        rows.append([target, group[0].task_type, scorers, num_rows, detectable])
    note = (
        "Detectable: the smallest difference between two scores on this many rows that is "
        "significant at 5 % (1.96 · √2 · bootstrap standard error, maximum over the methods). It "
        "assumes different rows; the paired intervals above, on the same rows, detect smaller "
        "differences."
    )
    header = ["target", "type", "scorer", "test rows", "detectable"]
    return Table("How each target is scored", header, rows, note)


def _details(cells: Sequence[Cell]) -> Table:
    rows = [
        [
            cell.target,
            column_name((cell.method, cell.shots)),
            str(cell.seed),
            interval_text(cell.value, cell.low, cell.high),
            f"{cell.unparseable:.1%}",
            f"{cell.ungrounded:.1%}",
            ", ".join(f"{name} {value:.3f}" for name, value in cell.extra.items()) or MISSING,
        ]
        for cell in cells
    ]
    header = ["target", "method", "seed", "score", "unparseable", "ungrounded", "other metrics"]
    return Table("All results", header, rows, is_detail=True)
