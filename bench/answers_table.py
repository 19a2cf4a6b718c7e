"""Write the results of answers.py as a page of tables, one for each setting that is on or off."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from clinprompt.evaluation.cells import Cell, read_cells
from clinprompt.evaluation.report.comparison_tables import difference_text
from clinprompt.evaluation.report.score_tables import MISSING, interval_text
from clinprompt.evaluation.statistics.paired import MEAN, Comparison, compare
from clinprompt.evaluation.statistics.summaries import Grid, Summary, at_shots, summarize
from clinprompt.files import write_text
from clinprompt.settings.groups import join_method, split_method
from clinprompt.settings.run import RunConfig

_SEED = 0  # the same cells give the same page


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that is off in one variant ("": the plain method) and on in another."""

    title: str
    setting: str
    off: str
    on: str


CHOICES = (
    Choice("Constrained decoding", "`data.constrained`, false and true", "free", ""),
    Choice("Calibrated labels", '`data.calibration`, "off" and "on"', "", "calibrated"),
    Choice("Instruction in the input", "`data.input_form`, 1 and 2", "", "instruction"),
    Choice("Rows weighted by tokens", '`adapt.row_weights`, "row" and "token"', "", "token"),
    Choice(
        "Rows weighted by at most 8 tokens", '`adapt.row_weights`, "row" and "capped"', "", "capped"
    ),
)
HEADER = ("task", "method", "off", "on", "on less off", "in each draw")
RATES = ("task", "method", "invented, off", "invented, on", "unreadable, off", "unreadable, on")


def write_table(folder: Path, config: RunConfig, *, num_planned: int, options: str = "") -> None:
    """Write ``table.md`` of the cells in a folder; it says how many are missing.

    ``options`` are those of the command for tasks or settings that are not the usual ones.
    """
    cells = read_cells(folder / "cells.jsonl")
    lines = ["# Constraint, calibration, instruction and row weights, on and off", ""]
    lines += [_caption(cells, config, options), ""]
    if len(cells) < num_planned:
        lines += [
            f"**Not complete: {len(cells)} of {num_planned} results.** `python bench/answers.py "
            f"--mirror DATA{options}` computes the others. An interval of one draw does not "
            "include differences between draws.",
            "",
        ]
    for choice in CHOICES:
        lines += _section(choice, cells)
    write_text(folder / "table.md", "\n".join(lines).rstrip() + "\n")


def _caption(cells: Sequence[Cell], config: RunConfig, options: str) -> str:
    shots, seeds = config.compare.shots[0], len(config.compare.seeds)
    rows = sorted({cell.num_rows for cell in cells})
    metrics = {cell.target: cell.metric for cell in cells}
    names = ", ".join(f"{target} ({metric})" for target, metric in metrics.items())
    return (
        f"{config.backbone}, {config.dtype}, metaprompt of the package, {shots} examples, {seeds} "
        f"draws of them, {config.adapt.steps} steps of {config.adapt.rows} rows, "
        f"{' or '.join(map(str, rows))} test rows. Tasks and metrics: {names}. Scores are means "
        "over the draws, with 95 % bootstrap intervals over test rows. Intervals of differences "
        "resample draws and test rows, those of means the tasks as well; they are not corrected "
        "for their number. Invented: share of the mentions or links in answers that are not in the "
        "text. Unreadable: share of rows whose answer cannot be parsed. Written by "
        f"`python bench/answers.py --table{options}` from `cells.jsonl`."
    )


def _section(choice: Choice, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the lines of one choice: scores of each method and task, and rates if decoding is."""
    groups = dict(_groups(choice, cells))
    yield from (f"## {choice.title}", "", f"{choice.setting}.", "")
    if not groups:
        yield from ("No results yet.", "")
        return
    rows, rates = [], []
    for method, (grid, compared) in groups.items():
        rows += [_row(choice, method, target, grid, compared) for target in compared.targets]
        if len(compared.targets) > 1:
            mean = compared.differences[compared.methods[0], MEAN]
            texts = (*_means(grid, compared), difference_text(mean), _by_seed(mean.by_seed))
            rows.append([f"mean of {len(compared.targets)}", method, *texts])
        rates += [_rates(choice, method, target, grid) for target in compared.targets]
    yield from (*_markdown(HEADER, rows), "")
    if choice.off == "free":
        yield from (*_markdown(RATES, rates), "")


def _groups(choice: Choice, cells: Sequence[Cell]) -> Iterator[tuple[str, tuple[Grid, Comparison]]]:
    """Yield each method with its cells on both sides of a choice, on the draws that both have."""
    for base in dict.fromkeys(split_method(cell.method)[0] for cell in cells):
        off, on = join_method(base, choice.off), join_method(base, choice.on)
        places = [
            {(cell.target, cell.seed) for cell in cells if cell.method == name}
            for name in (off, on)
        ]
        both = places[0] & places[1]
        own = [
            cell for cell in cells if cell.method in (off, on) and (cell.target, cell.seed) in both
        ]
        if own:
            generator = np.random.default_rng(_SEED)
            grid = at_shots(summarize(own, generator), own[0].shots)
            yield base, (grid, compare(grid, [on], off, generator))


def _row(choice: Choice, method: str, target: str, grid: Grid, compared: Comparison) -> list[str]:
    sides = [grid[target, join_method(method, variant)] for variant in (choice.off, choice.on)]
    difference = compared.differences[compared.methods[0], target]
    scores = [interval_text(side.value, side.low, side.high) for side in sides]
    return [target, method, *scores, difference_text(difference), _by_seed(difference.by_seed)]


def _means(grid: Grid, compared: Comparison) -> list[str]:
    names = (compared.reference, compared.methods[0])
    return [
        f"{fmean(grid[target, name].value for target in compared.targets):.2f}" for name in names
    ]


def _by_seed(values: Mapping[int, float]) -> str:
    return ", ".join(f"{values[seed]:+.2f}" for seed in sorted(values)) or MISSING


def _rates(choice: Choice, method: str, target: str, grid: Grid) -> list[str]:
    off, on = (grid[target, join_method(method, variant)] for variant in (choice.off, choice.on))
    return [
        target,
        method,
        *(_share(one, "ungrounded") for one in (off, on)),
        *(_share(one, "unparseable") for one in (off, on)),
    ]


def _share(summary: Summary, name: str) -> str:
    return f"{fmean(getattr(cell, name) for cell in summary.cells):.0%}"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
