"""Put what a check of the open suite found into tasks.md. Run: make tasks MIRROR=DIR."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tasks.md"
FOUND = ROOT / "docs" / "results" / "open34" / "tasks.json"
BEGIN, END = "<!-- tasks:begin -->", "<!-- tasks:end -->"
HEADER = "| task | train / validation / test | annotations | dropped | survive | tokens | licence |"


def main() -> None:
    """Keep the rows given as JSON on standard input, and write the table between its two marks."""
    rows = json.load(sys.stdin)
    FOUND.parent.mkdir(parents=True, exist_ok=True)
    FOUND.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table_text()}\n{END}{after}", encoding="utf-8")


def table_text() -> str:
    """Return the table, made from the rows that are kept."""
    rows = json.loads(FOUND.read_text(encoding="utf-8"))
    lines = [HEADER, "|" + " --- |" * (HEADER.count("|") - 1)]
    for row in rows:
        cells = (
            row["task"],
            f"{row['train']:,} / {row['validation']:,} / {row['test']:,}",
            row["annotations"].replace("/", " / "),
            "" if row["dropped"] == "" else str(row["dropped"]),
            f"{row['survive']:.2%}",
            row["tokens"].replace("/", " / "),
            row["license"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
