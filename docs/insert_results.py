"""Put the committed results of open-mini as a table into README.md. Run: make readme."""

import json
from pathlib import Path

from clinprompt.evaluation.cells import read_cells
from clinprompt.evaluation.tables import Baseline, table_rows

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "open-mini"
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
    stored = json.loads((RESULTS / "baselines.json").read_text(encoding="utf-8"))
    baselines = {target: Baseline(**values) for target, values in stored.items()}
    header, rows = table_rows(cells, baselines)
    turned = list(zip(header, *rows, strict=True))
    lines = [f"| {' | '.join(line)} |" for line in turned]
    rule = f"|{' --- |' * (len(rows) + 1)}"
    table = "\n".join([lines[0], rule, *lines[1:]])
    rows_each = sorted({cell.num_rows for cell in cells})
    caption = (
        f"SmolLM2-135M, two CPU cores, {' to '.join(map(str, rows_each))} test rows a target, "
        "one seed, 95 % bootstrap intervals over test rows; ≈ is not clearly above chance and "
        "majority. [Full report](docs/results/open-mini/report.md), with scorers, settings and "
        "costs."
    )
    return f"{caption}\n\n{table}"


if __name__ == "__main__":
    main()
