"""Write committed results as tables, on pages and in README.

Run: make readme. Writes the part of README.md between two marks and, below docs/results,
open21/table.md, more-targets/all-targets.md, which joins the targets of two comparisons, and
controls/differences.md.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markdown_table import markdown_table

from clinprompt.evaluation.cells import Cell, read_cells, shots_name, shots_order
from clinprompt.evaluation.report.comparison_tables import comparison_tables, type_tables
from clinprompt.evaluation.report.score_tables import Table, mean_text
from clinprompt.evaluation.statistics.summaries import (
    Summary,
    SummaryKey,
    summarize,
    types_of,
)
from clinprompt.methods.table import CONTROLS as CONTROL_METHODS
from clinprompt.settings.groups import Shots, split_method

ROOT = Path(__file__).parents[1]
OPEN21 = ROOT / "docs" / "results" / "open21"
FOUR_TARGETS = ROOT / "docs" / "results" / "four-targets"
MORE_TARGETS = ROOT / "docs" / "results" / "more-targets"
TABLE = OPEN21 / "table.md"
CONTROLS = ROOT / "docs" / "results" / "controls"
ALL_TARGETS = MORE_TARGETS / "all-targets.md"
DIFFERENCES = CONTROLS / "differences.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
IN_README = {
    "instruction": "instruction",
    "in-context": "examples in the prompt",
    "metaprompt": "metaprompt",
    "prompt-tuning": "prompt tuning",
    "lora": "LoRA, r = 8",
    "adapted-factors": "metaprompt, factors adapted",
    "adapted-metaprompt": "metaprompt, adapted",
}


def main() -> None:
    """Write all tables."""
    TABLE.write_text(whole_table() + "\n", encoding="utf-8")
    ALL_TARGETS.write_text(all_targets(), encoding="utf-8")
    DIFFERENCES.write_text(differences_to_controls(), encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{readme_table()}\n{END}{after}", encoding="utf-8")


def whole_table() -> str:
    """Return every method and number of examples by task type, with a caption."""
    cells, summaries = _results(OPEN21)
    types = types_of(summaries.values())
    num_targets = sum(map(len, types.values()))
    heads = [f"{name} ({len(own)})" for name, own in types.items()]
    lines = [
        f"| method | trainable parameters | {' | '.join(heads)} "
        f"| mean over {num_targets} targets |",
        f"|{' --- |' * (len(types) + 3)}",
        *_reference(types),
    ]
    columns = dict.fromkeys((one.method, one.shots) for one in summaries.values())
    for method, shots in sorted(columns, key=lambda column: shots_order(column[1])):
        own = {key: one for key, one in summaries.items() if key[1:] == (method, shots)}
        means = [_mean(own, targets) for targets in types.values()]
        whole = mean_text(list(own.values()), num_targets)
        name = f"{method}, {shots_name(shots)}"
        lines.append(f"| {name} | {_trained(own):,} | {' | '.join(means)} | {whole} |")
    rows_each = sorted({cell.num_rows for cell in cells})
    seeds = len({cell.seed for cell in cells})
    caption = (
        f"SmolLM2-135M on a CPU, {' to '.join(map(str, rows_each))} test rows per target, means "
        f"over {seeds} draw{'s' if seeds > 1 else ''} of the examples and by task type, with 95 % "
        "bootstrap intervals over test rows. The [full report](report.md) has every target, tests, "
        "scorers, settings and costs."
    )
    return "\n".join(["# Results on the targets of open21", "", caption, "", *lines])


def readme_table() -> str:
    """Return the rows that README shows: the scores of each method on four targets, their mean."""
    _, summaries = _results(FOUR_TARGETS)
    targets = list(dict.fromkeys(key[0] for key in summaries))
    lines = [
        f"| examples | method | trainable parameters | {' | '.join(targets)} | mean |",
        f"|{' --- |' * (len(targets) + 4)}",
    ]
    columns = {(one.method, one.shots) for one in summaries.values()}
    for method, shots in sorted(columns, key=_place):
        own = {key: one for key, one in summaries.items() if key[1:] == (method, shots)}
        name = IN_README[split_method(method)[0]]
        scores = [_mean(own, [target]) for target in targets]
        mean = mean_text(list(own.values()), len(targets))
        lines.append(f"| {shots} | {name} | {_trained(own):,} | {' | '.join(scores)} | {mean} |")
    return "\n".join(lines)


def all_targets() -> str:
    """Return the differences with 16 examples over the targets of both comparisons, as a page."""
    cells = [
        cell
        for folder in (FOUR_TARGETS, MORE_TARGETS)
        for cell in read_cells(folder / "cells.jsonl")
        if cell.shots == 16 and cell.method != "in-context"
    ]
    title = f"Sixteen examples on {len({cell.target for cell in cells})} unseen targets"
    intro = (
        "The cells of [four-targets](../four-targets/report.md) and [more-targets](report.md) "
        "together. Both comparisons have the same settings and draws."
    )
    return _differences(title, intro, cells, ["lora", "prompt-tuning"])


def differences_to_controls() -> str:
    """Return the differences of the small metaprompt to methods that learn from the same rows."""
    cells = [cell for cell in read_cells(CONTROLS / "cells.jsonl") if cell.shots == 16]
    intro = "Computed from the cells of the [comparison with controls](report.md)."
    return _differences("Differences to the controls", intro, cells, CONTROL_METHODS)


def _differences(title: str, intro: str, cells: Sequence[Cell], references: Sequence[str]) -> str:
    """Return a page of the differences to references, and of what belongs to them."""
    summaries = summarize(cells, np.random.default_rng(0))
    tables = [*comparison_tables(summaries, references), *type_tables(summaries)]
    return "\n\n".join([f"# {title}", intro, *map(_markdown, tables)]) + "\n"


def _markdown(table: Table) -> str:
    rows = markdown_table(table.header, table.rows)
    return "\n\n".join([f"## {table.title}", rows, *([table.note] if table.note else [])])


def _place(column: tuple[str, Shots]) -> tuple[float, int]:
    """Return what columns of the results are sorted by: number of examples, then method."""
    method, shots = column
    return shots_order(shots), list(IN_README).index(split_method(method)[0])


def _results(folder: Path) -> tuple[list[Cell], dict[SummaryKey, Summary]]:
    cells = read_cells(folder / "cells.jsonl")
    return cells, summarize(cells, np.random.default_rng(0))


def _trained(own: Mapping[SummaryKey, Summary]) -> int:
    return max(cell.trained_numbers for one in own.values() for cell in one.cells)


def _reference(types: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the rows of chance and majority, which see no note."""
    known = json.loads((OPEN21 / "baselines.json").read_text(encoding="utf-8"))
    lines = []
    for name, words in (("chance", "chance"), ("majority", "most frequent answer")):
        groups = [[known[target][name] for target in own] for own in types.values()]
        means = [f"{np.mean(values):.2f}" for values in groups]
        lines.append(f"| {words} | 0 | {' | '.join(means)} | {np.concatenate(groups).mean():.2f} |")
    return lines


def _mean(own: Mapping[SummaryKey, Summary], targets: Sequence[str]) -> str:
    values = [one.value for key, one in own.items() if key[0] in targets]
    return f"{np.mean(values):.2f}" if len(values) == len(targets) else "-"


if __name__ == "__main__":
    main()
