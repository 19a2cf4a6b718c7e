"""Put the committed results on open21's targets as a table into README.md. Run: make readme."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clinprompt.evaluation.cells import read_cells, shots_name, shots_order
from clinprompt.evaluation.report.score_tables import mean_text
from clinprompt.evaluation.statistics.summaries import Summary, SummaryKey, summarize, types_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "open21"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def main() -> None:
    """Write the table between its two marks."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{results_text()}\n{END}{after}", encoding="utf-8")


def results_text() -> str:
    """Return the table with its caption, made from the committed cells."""
    cells = read_cells(RESULTS / "cells.jsonl")
    summaries = summarize(cells, np.random.default_rng(0))
    types = types_of(summaries.values())
    num_targets = sum(map(len, types.values()))
    heads = [f"{name} ({len(own)})" for name, own in types.items()]
    lines = [
        f"| method | trained numbers | {' | '.join(heads)} | mean over {num_targets} targets |",
        f"|{' --- |' * (len(types) + 3)}",
    ]
    columns = dict.fromkeys((one.method, one.shots) for one in summaries.values())
    for method, shots in sorted(columns, key=lambda column: shots_order(column[1])):
        own = {key: one for key, one in summaries.items() if key[1:] == (method, shots)}
        trained = max(cell.trained_numbers for one in own.values() for cell in one.cells)
        means = [_mean(own, targets) for targets in types.values()]
        whole = mean_text(list(own.values()), num_targets)
        name = f"{method}, {shots_name(shots)}"
        lines.append(f"| {name} | {trained:,} | {' | '.join(means)} | {whole} |")
    lines[2:2] = _reference(types)
    rows_each = sorted({cell.num_rows for cell in cells})
    seeds = len({cell.seed for cell in cells})
    caption = (
        f"SmolLM2-135M on a CPU, {' to '.join(map(str, rows_each))} test rows a target, means over "
        f"{seeds} draw{'s' if seeds > 1 else ''} of the examples and by task type, "
        "95 % bootstrap intervals over test rows. [Full report](docs/results/open21/report.md), "
        "with every target, tests, scorers, settings and costs."
    )
    return "\n".join([caption, "", *lines])


def _reference(types: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the rows of chance and majority, which see no note."""
    known = json.loads((RESULTS / "baselines.json").read_text(encoding="utf-8"))
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
