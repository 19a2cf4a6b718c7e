"""Write the report of a finished comparison again, from its files alone: no data, no backbone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.evaluation.cells import Cell, read_cells
from clinprompt.evaluation.report.score_tables import Baseline
from clinprompt.evaluation.report.write_report import ReportContents, TaskRow, write_report
from clinprompt.files import write_text
from clinprompt.methods.table import REFERENCES, SHOWN_METHODS
from clinprompt.runs.folder import read_json
from clinprompt.settings.groups import split_method

CONTENTS = "contents.json"  # what a report shows in addition to its cells


def save_contents(folder: Path, contents: ReportContents) -> None:
    """Save what a report shows in addition to its cells, so that it can be written again."""
    kept = asdict(replace(contents, cells=()))
    del kept["cells"]
    write_text(folder / CONTENTS, json.dumps(kept, default=str) + "\n")


def report_again(run_folder: Path) -> Path:
    """Write the report of a run again and return its path.

    It shows all results of the run on the targets that were compared last, also those of methods
    and numbers of examples that an earlier command compared.

    Raises:
        RunError: the folder holds no comparison, or its report lacks ``contents.json``.
    """
    cells_path, folder = run_folder / "cells.jsonl", run_folder / "report"
    if not cells_path.is_file():
        raise RunError(f"{run_folder}: has no cells.jsonl; give the folder of a comparison")
    path = folder / CONTENTS
    if not path.is_file():
        raise RunError(
            f"{path}: missing; run 'clinprompt compare' once more, which writes it and computes no "
            "finished cell again"
        )
    compared = read_json(run_folder / "config.json")["compare"]
    kept = read_json(path)
    shown = [cell for cell in read_cells(cells_path) if cell.target in kept["baselines"]]
    write_report(folder, _contents(kept, _in_order(shown, compared)))
    return folder / "report.html"


def _in_order(cells: list[Cell], compared: Mapping[str, Any]) -> list[Cell]:
    """Return the cells in the order of the grid that was compared last, with ablations marked.

    Targets, and methods that are not in that grid, are in the order in which they were computed.
    """
    chosen = [
        cell.model_copy(
            update={"is_ablation": split_method(cell.method)[1] in compared["ablations"]}
        )
        for cell in cells
    ]
    methods = [*compared["methods"], *(cell.method for cell in chosen)]
    shots = [0, *compared["shots"], *(cell.shots for cell in chosen)]
    targets = [cell.target for cell in chosen]
    backbones = [*(compared["backbones"] or ()), *(cell.backbone for cell in chosen)]
    return sorted(
        chosen,
        key=lambda cell: (
            backbones.index(cell.backbone),
            cell.seed,
            shots.index(cell.shots),
            targets.index(cell.target),
            methods.index(cell.method),
        ),
    )


def _contents(kept: Mapping[str, Any], cells: list[Cell]) -> ReportContents:
    baselines = {name: Baseline(**one) for name, one in kept["baselines"].items()}
    tasks = [TaskRow(**one) for one in kept["tasks"]]
    now = {"references": REFERENCES, "shown_methods": SHOWN_METHODS}
    changed = {"cells": cells, "baselines": baselines, "tasks": tasks, **now}
    return ReportContents(**{**kept, **changed})
