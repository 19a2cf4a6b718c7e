"""Check the settings of a comparison, compute its missing cells, and write its report.

Every finished cell is one line of ``cells.jsonl``; the same command continues after a stop. Several
processes, on one machine or on several that share a folder, may fill the same grid.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.evaluation.cells import Cell, read_cells
from clinprompt.evaluation.report.score_tables import Table, score_tables
from clinprompt.evaluation.report.write_report import ReportContents, write_report
from clinprompt.files import Claims, write_text
from clinprompt.jobs.comparison.budget import Budget
from clinprompt.jobs.comparison.fill import fill
from clinprompt.jobs.comparison.grid import Block, blocks, chosen_targets
from clinprompt.jobs.comparison.report_again import save_contents
from clinprompt.jobs.comparison.report_contents import report_contents
from clinprompt.jobs.comparison.variants import OpenVariant, Runs, check_undivided
from clinprompt.jobs.planning.memory import numbers_to_train
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.metaprompts import check_start, find_metaprompt
from clinprompt.methods.resolve import (
    Resolved,
    on_backbone,
    resolve_all,
    suites_to_learn,
    variants_with,
)
from clinprompt.runs.folder import CLAIMS, check_is_run
from clinprompt.runs.suite_data import SuiteData, cards_of, check_suite, load_suite
from clinprompt.settings.groups import split_method
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.suite import find_suite
from clinprompt.training.progress import Reporter


@dataclass(frozen=True, slots=True)
class Outcome:
    """All computed cells, the tables of scores, and how many cells are still missing."""

    cells: list[Cell]
    tables: list[Table]
    num_missing: int


def compare(
    folder: Path,
    config: RunConfig,
    *,
    mirror: Path | None,
    command: str | None,
    reporter: Reporter,
    budget: Budget | None = None,
) -> Outcome:
    """Compute the missing cells of a comparison that fit the budget, and write the report.

    ``command`` is the command that repeats the comparison, for the report. Without it, no report is
    written and the outcome has no tables. A block of cells (all methods on one
    target) is started only if it is expected to end in time, judged by the seconds that its methods
    took before, together with the cells of later blocks that complete its teams. No cell or team is
    started after the budget has run out.

    Raises:
        ClinpromptError: a setting, task, file or backbone is not usable; the message says how to
            continue.
    """
    check_undivided(config)
    config = check_methods(config)
    settings = resolve_all(config)
    suite = _suite(config, on_backbone(settings, config.backbone), mirror)
    check_is_run(folder)
    claims = Claims(folder / CLAIMS)
    runs = Runs(folder, config.backbone, settings, suite, mirror, claims, reporter)
    _report_gaps(reporter, suite)
    _check_metaprompts(on_backbone(settings, config.backbone), suite)
    _check_layers(settings)
    _check_answers(runs.open_plain(), suite)
    grid = list(blocks(config.compare, config.backbone, suite.targets))
    for backbone, variant in {(spec.backbone, spec.variant) for spec in chain(*grid)}:
        runs.check(backbone, variant)
    fill(runs, grid, config.compare.together, budget or Budget())
    cells = _in_order(read_cells(folder / "cells.jsonl"), grid, config.compare.ablations)
    num_missing = sum(len(block) for block in grid) - len(cells)
    if not cells or command is None:
        return Outcome(cells, [], num_missing)
    contents = report_contents(runs.open_plain(), settings, suite, cells, command=command)
    return Outcome(cells, _report(folder / "report", contents), num_missing)


def _suite(config: RunConfig, configs: Mapping[str, RunConfig], mirror: Path | None) -> SuiteData:
    suite = load_suite(
        config.suite,
        config.data,
        mirror,
        with_sources=config.suite in suites_to_learn(configs),
        targets=chosen_targets(config.compare, tuple(cards_of(find_suite(config.suite).targets))),
    )
    check_suite(suite, config)
    return suite


def _check_metaprompts(configs: Mapping[str, RunConfig], suite: SuiteData) -> None:
    """Check that given metaprompts were trained on no target, and can start every one."""
    for variant in variants_with(configs[""], lambda method: method.needs_metaprompt):
        own = configs[variant]
        if own.metaprompt:
            found = find_metaprompt(own.metaprompt, own.backbone)
            check_start(found, [data.card for data in suite.targets], own.adapt.routing)


def _check_layers(settings: Resolved) -> None:
    """Check that every backbone has the layers that LoRA adapts."""
    for backbone in dict.fromkeys(name for name, _ in settings):
        if sizes := inspect_backbone(backbone).sizes:
            configs = on_backbone(settings, backbone)
            for method in configs[""].compare.methods:
                numbers_to_train(method, configs, sizes)


def _check_answers(plain: OpenVariant, suite: SuiteData) -> None:
    """Check, before hours of training, that each task has usable records."""
    for data in suite.sources:
        plain.task_rows.check(data, is_source=True)
    for data in suite.targets if plain.config.compare.shots else ():
        plain.task_rows.check(data, is_source=False)


def _in_order(cells: Sequence[Cell], grid: Sequence[Block], ablations: Sequence[str]) -> list[Cell]:
    """Return the cells in the order of the grid, with the ablations marked."""
    known = {
        cell.key(): cell.model_copy(
            update={"is_ablation": split_method(cell.method)[1] in ablations}
        )
        for cell in cells
    }
    return [known[spec.key] for spec in chain(*grid) if spec.key in known]


def _report(folder: Path, contents: ReportContents) -> list[Table]:
    write_report(folder, contents)
    baselines = {name: asdict(baseline) for name, baseline in contents.baselines.items()}
    write_text(folder / "baselines.json", json.dumps(baselines, indent=2) + "\n")
    save_contents(folder, contents)
    return score_tables(contents.cells, contents.baselines, contents.shown_methods)


def _report_gaps(reporter: Reporter, suite: SuiteData) -> None:
    for gap in suite.missing:
        reporter.say(f"suite {suite.name}: {gap}")
    _report_counts(reporter, suite.dropped, "rows dropped, they overlap a target")
    _report_counts(reporter, suite.copies, "training rows dropped, they are test rows too")


def _report_counts(reporter: Reporter, counts: Mapping[str, int], what: str) -> None:
    for name, count in counts.items():
        if count:
            reporter.say(f"{name}: {count} {what}")
