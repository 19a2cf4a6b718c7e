"""Run the benches; write docs/results/bench/NAME.json and NAME.md.

Run: python bench/run.py          (P = 100, 16 rows, 4 tasks; answers; start-up: under 20 minutes)
     python bench/run.py --full   (other sizes of the step: an hour; continues where it was stopped)
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import constrained
import inference
import memory
import startup
import step
from methods import METHODS

from clinprompt.backbone.load import load_backbone
from clinprompt.runs.workspace import environment

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "bench"
PAGES = {"bench": Path(__file__).parents[1] / "docs" / "performance.md"}
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
MAIN = {"rows": 16, "tasks": 4, "length": 100, "longest": 128}
FULL = [
    MAIN,
    MAIN | {"length": 20},
    MAIN | {"longest": 512},
    MAIN | {"rows": 64, "tasks": 8, "length": 20},
    MAIN | {"rows": 64, "tasks": 8},
]
UNTAUGHT = [name for name in METHODS if "distillation" not in name]
QUICK = [name for name in METHODS if name not in ("PEFT, prompt tuning", "PEFT, LoRA r = 16")]
WEIGHED = ["clinprompt, metaprompt", "PEFT, multitask prompt tuning", "PEFT, LoRA r = 8"]

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "memory": lambda: {**MAIN, "peaks": memory.measure(WEIGHED, **MAIN)},
    "step": lambda: step.measure(**MAIN, repeats=5, names=QUICK),
    "answers": lambda: inference.measure(tasks=20, length=100, note=512, requests=200),
    "constraints": lambda: constrained.measure(rows=16, notes_in_a_row=4, tokens=48, repeats=5),
    "start-up": lambda: startup.measure(repeats=3, length=100),
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes of the step")
    parser.add_argument("--only", choices=PARTS, help="one part of the bench, the others as before")
    parser.add_argument("--page", action="store_true", help="only write the pages again")
    wanted = parser.parse_args()
    if wanted.page:
        for name in PAGES:
            insert(name, json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
        return
    if wanted.full:
        for size in FULL:
            if _name(size) not in _known("full"):  # a stopped run continues
                # At the earlier sizes, the other peers took as long as these two.
                names = UNTAUGHT if size["rows"] == MAIN["rows"] else WEIGHED
                add("full", _name(size), step.measure(**size, repeats=5, names=names))
        return
    for part, measure in PARTS.items():
        if wanted.only in (None, part):
            add("bench", part, measure())


def _name(size: dict[str, int]) -> str:
    return "step, " + ", ".join(f"{name} {value}" for name, value in size.items())


def add(name: str, part: str, measured: dict[str, Any]) -> None:
    """Write one more part as soon as it is measured, and print it."""
    path = RESULTS / f"{name}.json"
    known = _known(name) | {part: measured}
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2) + "\n")
    path.with_suffix(".md").write_text(_page(known))
    if name in PAGES:
        insert(name, known)
    print(_section(part, measured), flush=True)


def _known(name: str) -> dict[str, Any]:
    """Return earlier measurements if this machine made them, else only its description."""
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    return known if known.get("machine") == _machine() else {"machine": _machine()}


@cache
def _machine() -> dict[str, str]:
    return environment(load_backbone("smollm2-135m")) | {"processor": _processor()}


def insert(name: str, known: dict[str, Any]) -> None:
    """Put tables into their page, between its marks."""
    text = PAGES[name].read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGES[name].write_text(f"{before}{BEGIN}\n{inserted(known)}\n{END}{after}", encoding="utf-8")


def inserted(known: dict[str, Any]) -> str:
    """Return the text between the marks."""
    return _page(known).replace("# Benches\n", "").replace("\n## ", "\n### ").strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _page(known: dict[str, Any]) -> str:
    parts = [_section(part, values) for part, values in known.items() if part != "machine"]
    machine = ", ".join(f"{name} {value}" for name, value in known["machine"].items())
    return "\n".join(["# Benches", f"{machine}.\n", *parts])


def _section(part: str, measured: dict[str, Any]) -> str:
    single = {name: v for name, v in measured.items() if not isinstance(v, list)}
    tables = {name: v for name, v in measured.items() if isinstance(v, list)}
    facts = ", ".join(f"{name} {_shown(value)}" for name, value in single.items())
    lines = [f"## {part}\n", f"{facts}.\n"]
    for name, rows in tables.items():
        lines += [f"**{name}**\n", *_table(rows), ""]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return head + [
        f"| {' | '.join(_shown(row.get(name, '')) for name in columns)} |" for row in rows
    ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2g}" if abs(value) < 0.1 else f"{value:,.2f}"
    return str(value)


if __name__ == "__main__":
    main()
