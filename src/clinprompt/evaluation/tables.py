"""Lay results out as tables of strings. Knows nothing of files, figures or how a table is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from clinprompt.config import Shots
from clinprompt.evaluation.cells import (
    Cell,
    Summary,
    mean_over_targets,
    shots_name,
    shots_order,
    summarize,
)

Column = tuple[str, Shots]  # method, shots
NOT_ABOVE = "≈"
_MISSING = "-"
_SCORE_NOTE = (
    "Brackets: 95 % percentile bootstrap over test rows. "
    f"{NOT_ABOVE}: not clearly above the better of chance and majority (the interval reaches it). "
    "Chance: random labels, no spans or links, a random training text. Majority: the most frequent "
    "training answer, no spans or links; for positive F1 the most frequent positive label. "
    "The mean's interval treats the targets' test rows as independent."
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a target gives away for free: the scores of random labels and of a constant answer."""

    chance: float
    majority: float


@dataclass(frozen=True, slots=True)
class Table:
    """A headed grid of strings with a note below it; HTML folds ``is_detail`` tables away."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    is_detail: bool = False


def table_rows(
    cells: Sequence[Cell], baselines: Mapping[str, Baseline]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of targets by method and shots; the last row is the mean.

    A score reads ``0.41 [0.33, 0.48]``; a ``≈`` after it says that it is not clearly above the
    better of chance and majority. A mean over fewer than all targets says over how many.
    """
    summaries = summarize(cells)
    targets = list(dict.fromkeys(cell.target for cell in cells))
    columns = columns_of(cells)
    rows = []
    for target in targets:
        free = baselines.get(target)
        scores = [_score_text(summaries.get((target, *column)), free) for column in columns]
        rows.append([target, *_baseline_texts([free] if free else []), *scores])
    known = [baselines[target] for target in targets if target in baselines]
    means = [_mean_text(_of_column(summaries, column), len(targets)) for column in columns]
    complete = len(known) == len(targets)
    rows.append(["mean", *_baseline_texts(known if complete else []), *means])
    return ["target", "chance", "majority", *map(column_name, columns)], rows


def score_tables(cells: Sequence[Cell], baselines: Mapping[str, Baseline]) -> list[Table]:
    """Return the scores, a table for each number of shots."""
    tables: list[Table] = []
    for shots in sorted({cell.shots for cell in cells}, key=shots_order):
        chosen = [cell for cell in cells if cell.shots == shots]
        title = f"Scores, {shots_name(shots)}"
        note = _seed_note(chosen) if tables else f"{_SCORE_NOTE} {_seed_note(chosen)}"
        tables.append(Table(title, *table_rows(chosen, baselines), note))
    return tables


def result_tables(cells: Sequence[Cell], baselines: Mapping[str, Baseline]) -> list[Table]:
    """Return the score tables, then costs, rates, scorers, details."""
    scores = score_tables(cells, baselines)
    return [*scores, _costs(cells), _rates(cells), _targets(cells), _details(cells)]


def columns_of(cells: Sequence[Cell]) -> list[Column]:
    """Return every (method, shots), fewest shots first, methods in order of appearance."""
    return sorted(
        dict.fromkeys((cell.method, cell.shots) for cell in cells),
        key=lambda column: shots_order(column[1]),
    )


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


def _of_column(
    summaries: Mapping[tuple[str, str, Shots], Summary], column: Column
) -> list[Summary]:
    return [one for key, one in summaries.items() if key[1:] == column]


def _baseline_texts(known: Sequence[Baseline]) -> list[str]:
    if not known:
        return [_MISSING, _MISSING]
    means = fmean(one.chance for one in known), fmean(one.majority for one in known)
    return [f"{mean:.2f}" for mean in means]


def _score_text(summary: Summary | None, free: Baseline | None) -> str:
    if summary is None:
        return _MISSING
    text = _interval_text(summary.value, summary.low, summary.high)
    not_above = free is not None and summary.low <= max(free.chance, free.majority)
    return f"{text} {NOT_ABOVE}" if not_above else text


def _mean_text(group: Sequence[Summary], num_targets: int) -> str:
    text = _interval_text(*mean_over_targets(group))
    return text if len(group) == num_targets else f"{text} ({len(group)} of {num_targets})"


def _interval_text(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _range_text(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _seed_note(cells: Sequence[Cell]) -> str:
    counts = [one.num_seeds for one in summarize(cells).values()]
    if max(counts) == 1:
        return "One seed: differences between seeds are not in the intervals."
    return (
        f"Scores are means over {_range_text(counts)} seeds; interval ends are means too, so "
        "differences between seeds are not in them."
    )


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
            ]
        )
    header = ["method", "trained numbers", "bytes", "steps", "train s", "evaluate s", "tokens/s"]
    return Table("Costs a task", header, rows, "Means over targets and seeds; a to b: the range.")


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
        "Mean over targets and seeds (worst in parentheses). Unparseable: rows whose output no "
        "rule could read; they count as wrong or as no prediction. Ungrounded: mentions or links "
        "not found in the text; they are left out of the prediction. No row is dropped."
    )
    header = ["method", "unparseable rows", "ungrounded mentions", "truncated inputs"]
    return Table("What could not be read", header, rows, note)


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
        "significant at 5 % (1.96 · √2 · bootstrap standard error, as if on different rows, so "
        "conservative; the largest over the methods). Smaller differences are not findings."
    )
    header = ["target", "type", "scorer", "test rows", "detectable"]
    return Table("How each target is scored", header, rows, note)


def _details(cells: Sequence[Cell]) -> Table:
    rows = [
        [
            cell.target,
            column_name((cell.method, cell.shots)),
            str(cell.seed),
            _interval_text(cell.value, cell.low, cell.high),
            f"{cell.unparseable:.1%}",
            f"{cell.ungrounded:.1%}",
            ", ".join(f"{name} {value:.3f}" for name, value in cell.extra.items()) or _MISSING,
        ]
        for cell in cells
    ]
    header = ["target", "method", "seed", "score", "unparseable", "ungrounded", "other metrics"]
    return Table("Every result", header, rows, is_detail=True)
