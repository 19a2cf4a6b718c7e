"""Gather what the report of a comparison shows beside its cells."""

from collections.abc import Iterator, Sequence, Set

import numpy as np

from clinprompt.evaluation.cells import Cell, cell_name
from clinprompt.evaluation.report.score_tables import Baseline
from clinprompt.evaluation.report.write_report import ReportContents, TaskRow
from clinprompt.evaluation.statistics.significance import chance, majority
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.runs.run import Run, environment, plain_name
from clinprompt.runs.suite_data import SuiteData, encode_all, examples_of
from clinprompt.settings.groups import NEED_METAPROMPT, SHIPPED
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import SPLITS, Split
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Answer, Record
from clinprompt.tasks.suite import find_suite, known_suites
from clinprompt.training.runlog import RunLog


def report_contents(
    run: Run, suite: SuiteData, cells: Sequence[Cell], command: str
) -> ReportContents:
    """Return all that a report shows of a comparison; ``run`` is its plain one."""
    config = run.config
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
        curves=_curves(run, cells),
        notes=[*suite.missing, *_origins(config, [data.card.name for data in suite.targets])],
        command=command,
        environment=environment(run.backbone),
    )


def _origins(config: RunConfig, targets: Sequence[str]) -> Iterator[str]:
    """Say where metaprompts come from that were not distilled for this comparison."""
    variants: dict[str, list[str]] = {}
    for variant in config.variants_of(NEED_METAPROMPT):
        variants.setdefault(config.varied(variant).metaprompt, []).append(variant)
    for name, own in variants.items():
        if name:
            of = f" of {', '.join(own)}" if all(own) else ""
            yield from _origin(name, of, config.backbone, targets)


def _origin(name: str, of: str, backbone: str, targets: Sequence[str]) -> list[str]:
    whose = "the one in the package" if name == SHIPPED else f"that of {plain_name(name)}"
    notes = [f"The metaprompt{of} is {whose}; its manifest names its sources."]
    found = find_metaprompt(name, plain_name(backbone))
    suite = str(found.manifest.settings["suite"])
    cleaned = find_suite(suite).targets if suite in known_suites() else ()
    if others := sorted(set(targets) - set(cleaned)):
        notes.append(
            f"Its sources were cleaned of rows that share text with the targets of suite {suite}, "
            f"but not with those of {', '.join(others)}."
        )
    return notes


def _curves(run: Run, cells: Sequence[Cell]) -> dict[str, list[tuple[int, float]]]:
    """Return losses by panel and line: of the sources, then of each target's cells, one seed.

    Variants with teachers or a metaprompt of their own log them below the run's folder.
    """
    first = min(cell.seed for cell in cells)
    shown = {
        cell_name(cell.target, cell.method, cell.shots, cell.seed)
        for cell in cells
        if cell.seed == first
    }
    curves: dict[str, list[tuple[int, float]]] = {}
    for variant in ("", *run.config.variants):
        folder = run.folder / "variants" / variant if variant else run.folder
        for row in RunLog(folder / "metrics.jsonl").rows():
            name = _curve_name(row["phase"], variant, shown)
            if name and "loss" in row:
                curves.setdefault(name, []).append((row["step"], row["loss"]))
    sources_first = sorted(curves, key=lambda name: name in shown)
    return {name: curves[name] for name in sources_first}


def _curve_name(phase: str, variant: str, shown: Set[str]) -> str:
    """Return ``panel/line`` of a phase of sources or of a cell that is shown, else nothing."""
    panel, slash, line = phase.partition("/")
    if slash and panel != "teachers":
        return phase if phase in shown else ""
    return f"{panel}{'@' if variant else ''}{variant}/{line or panel}"


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
