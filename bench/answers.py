"""Measure what constraint, calibration, instruction and row weights change, each on and off.

Three draws of 16 examples on the targets of the practice suite and on two real tasks that are
neither sources nor targets. answers.toml has the settings. ``clinprompt compare`` would fit a
method again for every setting. Here the settings that only change how a fitted method answers
share one fit, and settings that cannot change a task's answers are skipped.

Results are added to docs/results/answers/cells.jsonl one by one; the same command continues after a
stop. At the end it writes docs/results/answers/table.md.

Run, from the root of the repository:
     python bench/answers.py --mirror DATA
     python bench/answers.py --mirror DATA --tasks NAMES --results FOLDER   (other tasks)
     python bench/answers.py --table            (only the table, from the results so far)
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from shutil import copyfile

from answers_table import write_table

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.load import Backbone
from clinprompt.evaluation.cells import Cell, append_cell, read_cells
from clinprompt.evaluation.score_cells import CellInput, Cost, score_cell
from clinprompt.jobs.calibrate import Answering, calibrate
from clinprompt.jobs.fit_method import MethodFit, bank_of, fit_method
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import resolve
from clinprompt.methods.table import method_of
from clinprompt.runs.suite_data import load_apart
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.workspace import Workspace, load_run_backbone, open_workspace
from clinprompt.settings.groups import join_method, split_method
from clinprompt.settings.run import RunConfig, load_config
from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import LabelAnswer
from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "bench" / "answers.toml"
RESULTS = ROOT / "docs" / "results" / "answers"
HELD_BACK = ("ner-vaers", "nli-mqp")
ONLY_ANSWERS = ("free", "calibrated")  # variants that train nothing else than the plain method
ONLY_LISTS = ("free", "token", "capped")  # labels here are of one token: weights are equal
ONLY_LABELS = ("calibrated",)
STAGES = (  # all draws of one before the next, so that what is there first can be compared
    ("adapted-metaprompt", "free", "calibrated", "token"),
    ("lora", "free", "calibrated", "instruction"),
    ("adapted-metaprompt", "capped"),
    ("lora", "token", "capped"),
)


@dataclass(frozen=True, slots=True)
class Training:
    """A method to fit to a draw of a task, and the methods whose cells the result answers."""

    card: TaskCard
    method: str
    seed: int
    answered: tuple[str, ...]


def main() -> None:
    """Compute the missing cells, unless only the table is wanted, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", type=Path, help="folder with the tasks' data")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "answers", help="run folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of cells and table")
    parser.add_argument("--tasks", help="names of tasks, with commas, instead of the usual ones")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--set", action="append", default=[], help="change a setting")
    given = parser.parse_args()
    config = load_config(CONFIG, given.set)
    names = given.tasks.split(",") if given.tasks else usual_tasks(config)
    cards = [find_card(name) for name in names]
    given.results.mkdir(parents=True, exist_ok=True)
    if not given.table:
        fill(config, cards, given.out, given.results / "cells.jsonl", given.mirror)
        copyfile(given.out / "environment.json", given.results / "environment.json")
    write_table(
        given.results,
        config,
        num_planned=num_planned(config, cards),
        options=options_of(given.tasks or "", given.set),
    )


def options_of(tasks: str, changes: Sequence[str]) -> str:
    """Return the options of the command that the page names: other tasks, and changed settings."""
    chosen = [f" --tasks {tasks} --results FOLDER"] if tasks else []
    return "".join([*chosen, *(f" --set {change}" for change in changes)])


def usual_tasks(config: RunConfig) -> tuple[str, ...]:
    """Return the targets of the suite, and real tasks that are neither sources nor targets."""
    return (*find_suite(config.suite).targets, *HELD_BACK)


def fill(
    config: RunConfig, cards: Sequence[TaskCard], folder: Path, path: Path, mirror: Path | None
) -> None:
    """Compute the cells that are missing in a file of cells."""
    plain = resolve(config)
    backbone = load_run_backbone(folder, plain)
    workspace = open_workspace(folder, plain, backbone)
    tasks = {card.name: load_apart(card, mirror) for card in cards}
    workspace.record_tasks(list(tasks.values()))
    for training in trainings(config, cards):
        known = {(cell.target, cell.method, cell.seed) for cell in read_cells(path)}
        target, seed = training.card.name, training.seed
        answered = [one for one in training.answered if (target, one, seed) not in known]
        if answered:
            left = replace(training, answered=tuple(answered))
            for cell in _cells(config, backbone, workspace, left, tasks[target]):
                append_cell(path, cell)
                print(f"{target} {cell.method} seed {seed}: {cell.value:.3f}", flush=True)


def num_planned(config: RunConfig, cards: Sequence[TaskCard]) -> int:
    """Return the number of cells that a complete run computes."""
    return len(
        {
            (one.card.name, method, one.seed)
            for one in trainings(config, cards)
            for method in one.answered
        }
    )


def trainings(config: RunConfig, cards: Sequence[TaskCard]) -> Iterator[Training]:
    """Yield what is to be fitted, stage by stage and draw by draw."""
    for base, *variants in STAGES:
        for seed, card in product(config.compare.seeds, cards):
            usable = [one for one in ("", *variants) if _matters(card, one)]
            answers = [one for one in usable if one in ONLY_ANSWERS]
            for variant in usable:
                if variant not in ONLY_ANSWERS:
                    answered = (variant, *([] if variant else answers))
                    names = tuple(join_method(base, one) for one in answered)
                    yield Training(card, names[0], seed, names)


def _matters(card: TaskCard, variant: str) -> bool:
    """Return whether a variant can change the answers to a task, or is the plain method ("")."""
    is_label = kind_of(card).answer is LabelAnswer
    return variant not in (ONLY_LISTS if is_label else ONLY_LABELS)


def _cells(
    config: RunConfig,
    backbone: Backbone,
    workspace: Workspace,
    training: Training,
    data: TaskData,
) -> Iterator[Cell]:
    """Fit a method to a draw and yield the cells that the result answers."""
    with fitted_to(data, training.method, config, training.seed, backbone, workspace) as fitted:
        for name in training.answered:
            yield answered_by(fitted, data, resolve(config, variant=split_method(name)[1]), name)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a method learned from a draw: its prompt or changed weights, and what it cost."""

    backbone: Backbone
    bank: Bank
    seed: int
    shots: int
    cost: Cost


@contextmanager
def fitted_to(
    data: TaskData,
    method: str,
    config: RunConfig,
    seed: int,
    backbone: Backbone,
    workspace: Workspace,
) -> Iterator[Fitted]:
    """Fit a method to a draw of examples; changed weights stay in the backbone in the block."""
    own = resolve(config, variant=split_method(method)[1])
    [shots] = config.compare.shots
    assert isinstance(shots, int)
    rows = task_rows_of(own, backbone).shots(data, shots, seed=seed)
    found = find_metaprompt(own.metaprompt, own.backbone) if own.metaprompt else None
    start = Start(own, backbone, data.card, rows, seed, found)
    fit = MethodFit(method_of(method), start, f"{data.card.name}/{method}-seed{seed}")
    with fit_method(fit, workspace) as fitted:
        bank, progress = bank_of(backbone, [fitted.tuner]), fitted.progress
        cost = Cost(
            fitted.trained_numbers, fitted.num_bytes, len(rows), progress.step, progress.seconds
        )
        yield Fitted(backbone, bank, seed, shots, cost)
    workspace.forget(fit.name)


def answered_by(fitted: Fitted, data: TaskData, own: RunConfig, name: str) -> Cell:
    """Answer the test rows of a task under settings; the cell's method is ``name``."""
    task_rows = task_rows_of(own, fitted.backbone)
    encoder = task_rows.encoder()
    answering = Answering(fitted.backbone, encoder, fitted.bank)
    given = CellInput(
        backbone_name=own.backbone,
        card=data.card,
        examples=task_rows.test_examples(data),
        encoder=encoder,
        method=name,
        shots=fitted.shots,
        seed=fitted.seed,
        interval_seed=own.seed,
        cost=fitted.cost,
        calibration=calibrate(answering, data, own.data, seed=own.seed, may_validate=False),
    )
    return score_cell(fitted.backbone, given, fitted.bank)


if __name__ == "__main__":
    main()
