"""The whole road from one config: sources → teachers → metaprompt → targets → report.

Every part that is finished is saved; the same command goes on after a stop.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clinprompt.config import Method, RunConfig
from clinprompt.evaluation.cells import Cell, append_cell, read_cells, shots_name
from clinprompt.evaluation.report import ReportContents, TaskRow, write_report
from clinprompt.evaluation.significance import chance, majority
from clinprompt.evaluation.tables import Baseline, Table, score_tables
from clinprompt.files import write_text
from clinprompt.prompts.artifact import Artifact
from clinprompt.recipes.adapt import Adapted, Fit, adapt, starting_prompt
from clinprompt.recipes.context import Run, environment, open_run
from clinprompt.recipes.distill import distill
from clinprompt.recipes.evaluate import Attempt, Cost, evaluate
from clinprompt.recipes.suite import (
    SuiteData,
    check_suite,
    encode_all,
    examples_of,
    load_suite,
)
from clinprompt.tasks.card import SPLITS, Split
from clinprompt.tasks.example import Answer, Record
from clinprompt.tasks.load import TaskData
from clinprompt.training.progress import Reporter

ZERO_SHOT: tuple[Method, ...] = ("instruction", "metaprompt")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One cell that the config asks for."""

    data: TaskData
    method: Method
    shots: int
    seed: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Return what tells this cell from every other."""
        return (self.data.card.name, self.method, self.shots, self.seed)


def run_road(
    folder: Path, config: RunConfig, *, mirror: Path | None, command: str, reporter: Reporter
) -> tuple[list[Cell], list[Table]]:
    """Walk the whole road, or what is left of it, and write the report.

    Returns all cells, and the tables of scores.

    Raises:
        ClinpromptError: a setting, task, file or backbone is not usable; the message says how to go
            on.
    """
    suite = load_suite(config.suite, config.data, mirror)
    check_suite(suite, config)
    run = open_run(folder, config, reporter=reporter)
    run.claim([*suite.sources, *suite.targets])
    for lack in suite.missing:
        reporter.say(f"suite {suite.name}: {lack}")
    for name, count in suite.dropped.items():
        if count:
            reporter.say(f"{name}: {count} rows dropped, they overlap a target")
    for name, count in suite.copies.items():
        if count:
            reporter.say(f"{name}: {count} training rows dropped, they are test rows too")
    _check_answers(run, suite)
    metaprompt = distill(run, suite.sources)
    path = folder / "cells.jsonl"
    done = {cell.key() for cell in read_cells(path)}
    for wanted in _grid(config, suite):
        if wanted.key not in done:
            cell = _cell(run, wanted, metaprompt)
            append_cell(path, cell)
            reporter.say(_in_words(cell))
    cells = read_cells(path)
    contents = _contents(run, suite, cells, command)
    write_report(folder / "report", contents)
    baselines = {name: asdict(baseline) for name, baseline in contents.baselines.items()}
    write_text(folder / "report" / "baselines.json", json.dumps(baselines, indent=2) + "\n")
    return cells, score_tables(cells, contents.baselines)


def _check_answers(run: Run, suite: SuiteData) -> None:
    """Check, before hours of training, that each task has enough answers of a fitting length."""
    compare = run.config.compare
    for data in suite.sources:
        run.training_rows(data)
    for data in suite.targets if compare.shots else ():
        run.few_rows(data, max(compare.shots), seed=compare.seeds[0])


def _grid(config: RunConfig, suite: SuiteData) -> Iterator[Wanted]:
    """Yield cells so that a grid cut short is still balanced over targets and methods."""
    compare = config.compare
    for seed in compare.seeds:
        for shots in (0, *compare.shots):
            for data in suite.targets:
                for method in compare.methods:
                    is_zero_shot = method in ZERO_SHOT
                    if is_zero_shot == (shots == 0) and (shots or seed == compare.seeds[0]):
                        yield Wanted(data, method, shots, seed)


def _cell(run: Run, wanted: Wanted, metaprompt: Artifact) -> Cell:
    data, config, method = wanted.data, run.config, wanted.method
    limit, instruct = config.data.test_rows, method == "instruction"
    examples = examples_of(data, "test", limit=limit, seed=config.seed, instruct=instruct)
    if method == "instruction":
        return evaluate(run, data.card, examples, Attempt(method, 0, wanted.seed))
    if method == "metaprompt":
        start = starting_prompt(run, metaprompt, data.card)
        return evaluate(run, data.card, examples, Attempt(method, 0, wanted.seed, start([0])[0]))
    name = f"{data.card.name}/{method}-k{wanted.shots}-seed{wanted.seed}"
    rows = run.few_rows(data, wanted.shots, seed=wanted.seed)
    fit = Fit(method, data.card, rows, name, wanted.seed)
    with adapt(run, fit, metaprompt) as fitted:
        prompts = fitted.tuner.prompts([0])
        prompt = None if prompts is None else prompts[0]
        attempt = Attempt(method, wanted.shots, wanted.seed, prompt, _cost(fitted))
        cell = evaluate(run, data.card, examples, attempt)
        if fitted.artifact:
            run.store.save(_with_score(fitted.artifact, cell))
    run.place(name).checkpoint.unlink(missing_ok=True)
    return cell


def _cost(fitted: Adapted) -> Cost:
    progress = fitted.progress
    speed = progress.tokens / progress.seconds if progress.seconds else 0.0
    return Cost(fitted.trained_numbers, fitted.num_bytes, progress.step, progress.seconds, speed)


def _with_score(artifact: Artifact, cell: Cell) -> Artifact:
    scores = {cell.metric: cell.value, "low": cell.low, "high": cell.high}
    manifest = artifact.manifest.model_copy(update={"scores": scores})
    return artifact.model_copy(update={"manifest": manifest})


def _in_words(cell: Cell) -> str:
    what = f"{cell.target}  {cell.method}  {shots_name(cell.shots)}"
    return f"{what}: {cell.metric} {cell.value:.3f} [{cell.low:.2f}, {cell.high:.2f}]"


def _contents(run: Run, suite: SuiteData, cells: Sequence[Cell], command: str) -> ReportContents:
    config = run.config
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in run.log.rows():
        if "loss" in row:
            curves.setdefault(_curve_name(row["phase"]), []).append((row["step"], row["loss"]))
    return ReportContents(
        title=f"{config.name}: one metaprompt, {len(suite.targets)} unseen tasks",
        suite=suite.name,
        cells=cells,
        baselines={data.card.name: _baseline(run, data) for data in suite.targets},
        settings=run.settings(),
        dropped=suite.dropped | {f"{name} (training)": n for name, n in suite.copies.items() if n},
        tasks=[
            *(_task_row(run, data, "train") for data in suite.sources),
            *(_task_row(run, data, "test") for data in suite.targets),
        ],
        curves=curves,
        notes=suite.missing,
        command=command,
        environment=environment(run.backbone),
    )


def _curve_name(phase: str) -> str:
    """Return ``panel/line`` of a phase: a phase without a panel is one of its own."""
    return phase if "/" in phase else f"{phase}/{phase}"


def _baseline(run: Run, data: TaskData) -> Baseline:
    card, config = data.card, run.config
    examples = examples_of(data, "test", limit=config.data.test_rows, seed=config.seed)
    gold = [_answer(example.record) for example in examples]
    training = [_answer(record) for record in data.splits["train"]]
    if card.answer == "choice":
        choices: list[tuple[str, ...]] = [example.choices for example in examples]
    else:
        choices = [tuple(card.labels)] * len(gold)
    generator = np.random.default_rng(config.seed)
    return Baseline(
        chance=chance(
            card.metric,
            gold,
            generator,
            choices=choices,
            positive=card.positive,
            training=training,
        ),
        majority=majority(card.metric, gold, training, positive=card.positive),
    )


def _answer(record: Record) -> Answer:
    assert record.answer is not None, "suite records have answers"
    return record.answer


def _task_row(run: Run, data: TaskData, split: Split) -> TaskRow:
    settings, seed = run.config.data, run.config.seed
    limit = settings.train_rows if split == "train" else settings.test_rows
    encoder = run.encoder()
    used = encode_all(encoder, data.card, examples_of(data, split, limit=limit, seed=seed))
    training = examples_of(data, "train", limit=settings.train_rows, seed=seed)
    taught = encode_all(encoder, data.card, training)
    train, validation, test = (len(data.splits[name]) for name in SPLITS)
    return TaskRow(
        name=data.card.name,
        type=data.card.type,
        num_train=train,
        num_validation=validation,
        num_test=test,
        license=data.card.source.license,
        truncated=float(np.mean([row.input_was_cut for row in used])),
        left_out=float(np.mean([row.target_was_cut for row in taught])),
    )
