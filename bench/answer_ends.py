"""Measure when a constrained answer should end: how much probability must be on allowed tokens.

Fits methods to three draws of 16 examples of tasks with mentions or links that are neither sources
nor targets of a comparison. Each fit answers freely and with several values of ``MIN_SHARE``
(``clinprompt.backbone.constraint``). A second fit weighs rows by their tokens. answers.toml has the
settings.

Results are added to OUT one by one; the same command continues after a stop, and several processes
may share the work (``--part 0/4``).

Run, from the root of the repository:
     python bench/answer_ends.py OUT --mirror DATA
     python bench/answer_ends.py OUT --table        (print the means so far)
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

from answers import CONFIG, answered_by, fitted_to

from clinprompt.backbone import constraint
from clinprompt.evaluation.cells import Cell, append_cell, read_cells
from clinprompt.methods.resolve import resolve
from clinprompt.runs.suite_data import load_apart
from clinprompt.runs.workspace import load_run_backbone, open_workspace
from clinprompt.settings.groups import join_method, split_method
from clinprompt.settings.run import load_config
from clinprompt.tasks.card import find_card

TASKS = ("practice-ner-drugs", "practice-re-frequency", "ner-vaers", "ie-pgxcorpus")
METHODS = ("adapted-metaprompt", "lora")
SHARES = (0.0, 0.1, 0.3, 0.5)
WEIGHTED_SHARE = 0.1  # what the fit with weighted rows answers with


@dataclass(frozen=True, slots=True)
class Job:
    """A fit of a method, which may have a variant, to a draw of a task."""

    task: str
    method: str
    seed: int


def main() -> None:
    """Compute the missing cells of a part, and print the means of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of results")
    parser.add_argument("--mirror", type=Path, help="folder with the tasks' data")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help="names or folders of tasks")
    parser.add_argument("--part", default="0/1", help="NUMBER/COUNT: a part of the work")
    parser.add_argument("--table", action="store_true", help="only print the means so far")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.table:
        number, count = map(int, given.part.split("/"))
        for job in tuple(jobs(given.tasks))[number::count]:
            compute(job, given.out, f"cells-{number}-of-{count}.jsonl", given.mirror)
    print_means([cell for path in given.out.glob("cells*.jsonl") for cell in read_cells(path)])


def jobs(tasks: Sequence[str]) -> Iterator[Job]:
    """Yield what is to be fitted: all plain fits of a draw first."""
    seeds = load_config(CONFIG).compare.seeds
    for variant, seed, task, method in product(("", "capped"), seeds, tasks, METHODS):
        yield Job(task, join_method(method, variant), seed)


def compute(job: Job, out: Path, name: str, mirror: Path | None) -> None:
    """Fit once and answer in each way, unless all of it is there."""
    config, data = load_config(CONFIG), load_apart(find_card(job.task), mirror)
    free, is_weighted = join_method(job.method, "free"), "@" in job.method
    shares = (WEIGHTED_SHARE,) if is_weighted else SHARES
    names = {f"{job.method}, {share}": share for share in shares}
    names |= {} if is_weighted else {free: 0.0}
    there = [cell for path in out.glob("cells*.jsonl") for cell in read_cells(path)]
    known = {(one.target, one.method, one.seed) for one in there}
    left = [one for one in names if (data.card.name, one, job.seed) not in known]
    if not left:
        return
    folder = out / "runs" / name.removesuffix(".jsonl")
    plain = resolve(config)
    backbone = load_run_backbone(folder, plain)
    workspace = open_workspace(folder, plain, backbone)
    with fitted_to(data, job.method, config, job.seed, backbone, workspace) as fitted:
        for one in left:
            own = resolve(config, variant=split_method(one.partition(",")[0])[1])
            with _share(names[one]):
                cell = answered_by(fitted, data, own, one)
            append_cell(out / name, cell)
            print(f"{data.card.name} {one} seed {job.seed}: {cell.value:.3f}", flush=True)


@contextmanager
def _share(value: float) -> Iterator[None]:
    kept, constraint.MIN_SHARE = constraint.MIN_SHARE, value
    try:
        yield
    finally:
        constraint.MIN_SHARE = kept


def print_means(cells: Sequence[Cell]) -> None:
    """Print the mean over draws for each way to answer, and over the tasks that have all ways."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        values[cell.method][cell.target].append(cell.value)
    for method, by_task in sorted(values.items()):
        means = {task: fmean(own) for task, own in sorted(by_task.items())}
        shown = (f"{task} {mean:.3f} ({len(by_task[task])})" for task, mean in means.items())
        print(f"{method}: {fmean(means.values()):.3f}; {', '.join(shown)}")


if __name__ == "__main__":
    main()
