"""Put what a check of the open suite found into catalog.md. Run: make tasks MIRROR=DIR."""

import json
import sys
from pathlib import Path

from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "catalog.md"
FOUND = ROOT / "docs" / "results" / "open34" / "tasks.json"
BEGIN, END = "<!-- tasks:begin -->", "<!-- tasks:end -->"
HEADER = (
    "task",
    "train / validation / test",
    "annotations",
    "published",
    "dropped",
    "survive",
    "input tokens",
    "answer tokens",
    "answers that fit",
    "license",
)
LEFT_OUT = ("task", "split", "differs by", "because")


def main() -> None:
    """Keep the rows given as JSON on standard input, and write the tables between their marks."""
    rows = json.load(sys.stdin)
    suite = find_suite(FOUND.parent.name)
    sound = {row["task"] for row in rows if not row["mismatch"]}
    if wrong := [task for task in (*suite.sources, *suite.targets) if task not in sound]:
        sys.exit(f"nothing written: missing, or not what the card states: {', '.join(wrong)}")
    FOUND.parent.mkdir(parents=True, exist_ok=True)
    FOUND.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table_text()}\n{END}{after}", encoding="utf-8")


def table_text() -> str:
    """Return both tables, made from the rows that are kept."""
    rows = json.loads(FOUND.read_text(encoding="utf-8"))
    differing = [line for row in rows for line in differences(row)]
    return "\n\n".join(
        [
            as_table(HEADER, [cells(row) for row in rows]),
            "Where what is read differs from what is published:",
            as_table(LEFT_OUT, differing),
        ]
    )


def cells(row: dict) -> list[str]:
    """Return the row of the first table for one task."""
    tokens = row["tokens"]
    return [
        row["task"],
        slashed(row["rows"]),
        slashed(row["annotations"]),
        published(row["published"]),
        "" if row["dropped"] is None else f"{row['dropped']:,}",
        " / ".join(f"{share:.2%}" for share in row["survive"].values() if share is not None),
        slashed(tokens["inputs"]),
        slashed(tokens["answers"]),
        f"{tokens['fitting']:.2%}",
        row["license"],
    ]


def published(balances: list[dict]) -> str:
    """Return the stated rows and annotations: of the whole set, or of all its splits."""
    splits = {one["split"] for one in balances}
    found = []
    for kind in ("rows", "annotations"):
        stated = {one["split"]: one["stated"] for one in balances if one["kind"] == kind}
        if "all" in stated or set(stated) == splits:
            found.append(f"{stated.get('all', sum(stated.values())):,} {kind}")
    return ", ".join(found)


def differences(row: dict) -> list[list[str]]:
    """Return the rows of the second table for one task."""
    return [
        [row["task"], one["split"], f"{sign}{one[kind]:,} {kind}", one["reason"]]
        for name, sign in (("left_out", "-"), ("added", "+"))
        for one in row[name]
        for kind in ("rows", "annotations")
        if kind in one
    ]


def slashed(values: dict[str, int]) -> str:
    """Return numbers with slashes between them."""
    return " / ".join(f"{value:,}" for value in values.values())


def as_table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
