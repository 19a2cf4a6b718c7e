"""Collect what the report of a comparison shows in addition to its cells."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

import numpy as np

from clinprompt.errors import number_of
from clinprompt.evaluation.cells import Cell, cell_name
from clinprompt.evaluation.metrics import chance, majority
from clinprompt.evaluation.report.score_tables import Baseline
from clinprompt.evaluation.report.write_report import ReportContents, TaskRow
from clinprompt.jobs.comparison.variants import OpenVariant
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.resolve import Resolved, on_backbone, variants_with
from clinprompt.methods.table import REFERENCES, SHOWN_METHODS
from clinprompt.runs.examples import encode_all, examples_of, max_test_rows
from clinprompt.runs.folder import read_json
from clinprompt.runs.manifest import shareable_settings
from clinprompt.runs.suite_data import SuiteData
from clinprompt.runs.task_rows import TaskRows
from clinprompt.runs.workspace import environment
from clinprompt.settings.defaults import SHIPPED
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.kinds.baselines import gold_answers
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.suite import find_suite, known_suites
from clinprompt.training.runlog import RunLog


def report_contents(
    plain: OpenVariant,
    settings: Resolved,
    suite: SuiteData,
    cells: Sequence[Cell],
    *,
    command: str,
) -> ReportContents:
    """Return the contents of the report of a comparison; ``plain`` is its run without variant."""
    config = plain.config
    targets = [data.card.name for data in suite.targets]
    return ReportContents(
        title=f"{config.name}: {_subject(config)}{number_of(len(targets), 'unseen task')}",
        suite=suite.name,
        cells=cells,
        baselines={data.card.name: _baseline(config, data) for data in suite.targets},
        settings=shareable_settings(config),
        dropped=suite.dropped | {f"{name} (training)": n for name, n in suite.copies.items() if n},
        tasks=[
            *(_task_row(plain.task_rows, data, "train") for data in suite.sources),
            *(_task_row(plain.task_rows, data, "test") for data in suite.targets),
        ],
        curves=_curves(plain.workspace.folder, config.variants, cells),
        notes=[*suite.missing, *_origins(on_backbone(settings, config.backbone), targets)],
        command=command,
        environment=_environment(plain),
        references=REFERENCES,
        shown_methods=SHOWN_METHODS,
    )


def _environment(plain: OpenVariant) -> dict[str, str]:
    """Return this machine's versions and device, then those of other machines where they differ.

    Cells may be computed elsewhere; a file ``environment-NAME.json`` in the run's folder, a copy of
    the ``environment.json`` written there, describes that machine.
    """
    own = environment(plain.backbone)
    parts = dict(own)
    for path in sorted(plain.workspace.folder.glob("environment-*.json")):
        name = path.stem.removeprefix("environment-")
        other = read_json(path)
        parts |= {
            f"{part} ({name})": str(other[part]) for part in other if other[part] != own.get(part)
        }
    return parts


def _origins(configs: Mapping[str, RunConfig], targets: Sequence[str]) -> Iterator[str]:
    """Describe the origin of each metaprompt that was not distilled for this comparison."""
    variants: dict[str, list[str]] = {}
    for variant in variants_with(configs[""], lambda method: method.needs_metaprompt):
        variants.setdefault(configs[variant].metaprompt, []).append(variant)
    for name, own in variants.items():
        if name:
            of = f" of {', '.join(own)}" if all(own) else ""
            yield from _origin(name, of, configs[""].backbone, targets)


def _origin(name: str, of: str, backbone: str, targets: Sequence[str]) -> list[str]:
    whose = "the one in the package" if name == SHIPPED else f"that of {plain_name(name)}"
    notes = [f"The metaprompt{of} is {whose}; its manifest names its sources."]
    found = find_metaprompt(name, backbone)
    suite = str(found.manifest.settings["suite"])
    cleaned = find_suite(suite).targets if suite in known_suites() else ()
    if others := sorted(set(targets) - set(cleaned)):
        notes.append(
            f"Its sources were cleaned of rows that share text with the targets of suite {suite}, "
            f"but not with those of {', '.join(others)}."
        )
    return notes


def _curves(
    run_folder: Path, variants: Iterable[str], cells: Sequence[Cell]
) -> dict[str, list[tuple[int, float]]]:
    """Return the loss curves of the report by ``panel/line``, those of sources first.

    Cells are shown with the first seed only. A variant that trains its own teachers or metaprompt
    logs them in a folder below that of the comparison.
    """
    first = min(cell.seed for cell in cells)
    shown = {
        cell_name(cell.target, cell.method, cell.shots, cell.seed)
        for cell in cells
        if cell.seed == first
    }
    curves: dict[str, list[tuple[int, float]]] = {}
    for variant in ("", *variants):
        folder = run_folder / "variants" / variant if variant else run_folder
        for row in RunLog(folder / "metrics.jsonl").rows():
            name = _curve_name(row["phase"], variant, shown)
            if name and "loss" in row:
                curves.setdefault(name, []).append((row["step"], row["loss"]))
    sources_first = sorted(curves, key=lambda name: name in shown)
    return {name: curves[name] for name in sources_first}


def _curve_name(phase: str, variant: str, shown: Set[str]) -> str:
    """Return ``panel/line`` of a phase that is shown, else ""."""
    panel, slash, line = phase.partition("/")
    if slash and panel != "teachers":
        return phase if phase in shown else ""
    return f"{panel}{'@' if variant else ''}{variant}/{line or panel}"


def _subject(config: RunConfig) -> str:
    """Return what the title of a report names before the tasks."""
    has_metaprompt = variants_with(config, lambda method: method.needs_metaprompt)
    return "one metaprompt, " if has_metaprompt else ""


def _baseline(config: RunConfig, data: TaskData) -> Baseline:
    card = data.card
    limit = max_test_rows(config.data, card)
    examples = examples_of(data, "test", limit=limit, seed=config.seed)
    records = [example.record for example in examples]
    training = gold_answers(data.splits["train"])
    return Baseline(
        chance=chance(card, records, training, np.random.default_rng(config.seed)),
        majority=majority(card, records, training),
    )


def _task_row(task_rows: TaskRows, data: TaskData, split: Literal["train", "test"]) -> TaskRow:
    settings, seed = task_rows.settings, task_rows.seed
    encoder = task_rows.encoder()
    examples = examples_of(data, "train", limit=settings.train_rows, seed=seed)
    used = training = encode_all(encoder, data.card, examples)
    if split == "test":
        limit = max_test_rows(settings, data.card)
        examples = examples_of(data, "test", limit=limit, seed=seed)
        used = encode_all(encoder, data.card, examples)
    train, validation, test = (len(data.splits[name]) for name in SPLITS)
    return TaskRow(
        name=data.card.name,
        type=data.card.type,
        num_train=train,
        num_validation=validation,
        num_test=test,
        license=data.card.source.license,
        truncated=float(np.mean([row.input_was_cut for row in used])),
        left_out=float(np.mean([row.target_was_cut for row in training])),
    )
