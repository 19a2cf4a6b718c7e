"""Fill the grid of a comparison, cell by cell, and write its report.

Every finished cell is one line of ``cells.jsonl``; the same command continues after a stop. Several
processes, on one machine or on several that share a folder, may fill the same grid. With
``compare.together``, cells that train prompts are trained in teams. A process claims a whole team,
and loses at most this team if it is killed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from statistics import fmean
from time import monotonic

from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.errors import SettingError
from clinprompt.evaluation.cells import Cell, append_cell, read_cells, shots_name
from clinprompt.evaluation.report.score_tables import Table, score_tables
from clinprompt.evaluation.report.write_report import ReportContents, write_report
from clinprompt.files import Claims, write_text
from clinprompt.jobs.comparison.cell import Member, compute_cell, compute_cells
from clinprompt.jobs.comparison.grid import (
    Block,
    CellSpec,
    blocks,
    chosen_targets,
    team_of,
    with_team_members,
)
from clinprompt.jobs.comparison.report_again import save_contents
from clinprompt.jobs.comparison.report_contents import report_contents
from clinprompt.jobs.comparison.variants import OpenVariant, Runs, check_undivided
from clinprompt.jobs.planning.memory import trained_numbers
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.metaprompts import check_start, find_metaprompt
from clinprompt.methods.resolve import (
    Resolved,
    on_backbone,
    resolve_all,
    suites_to_learn,
    variants_with,
)
from clinprompt.methods.table import method_of
from clinprompt.runs.folder import CLAIMS, check_is_run
from clinprompt.runs.suite_data import SuiteData, cards_of, check_suite, load_suite
from clinprompt.settings.groups import split_method
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.suite import find_suite
from clinprompt.training.progress import Reporter


@dataclass
class Budget:
    """Seconds that a call may take, or None for no limit, from the time that this is created."""

    seconds: float | None = None
    clock: Callable[[], float] = monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def has_room(self, expected: float) -> bool:
        """Return whether ``expected`` more seconds fit."""
        return self.seconds is None or self.clock() - self._started + expected <= self.seconds


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
    _fill(runs, grid, config.compare.together, budget or Budget())
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
            found = find_metaprompt(own.metaprompt, plain_name(own.backbone))
            check_start(found, [data.card for data in suite.targets], own.adapt.routing)


def _check_layers(settings: Resolved) -> None:
    """Check that every backbone has the layers that LoRA adapts."""
    for backbone in dict.fromkeys(name for name, _ in settings):
        if sizes := inspect_backbone(backbone).sizes:
            configs = on_backbone(settings, backbone)
            for method in configs[""].compare.methods:
                trained_numbers(method, configs, sizes)


def _check_answers(plain: OpenVariant, suite: SuiteData) -> None:
    """Check, before hours of training, that each task has an answer that is short enough."""
    for data in suite.sources:
        plain.task_rows.check(data, is_source=True)
    for data in suite.targets if plain.config.compare.shots else ():
        plain.task_rows.check(data, is_source=False)


def _fill(runs: Runs, grid: Sequence[Block], team_size: int, budget: Budget) -> None:
    """Compute the cells that no process has computed or is computing.

    Cells whose metaprompt another process is making come last. Until then, this process helps to
    train its teachers and computes other cells.
    """
    for may_wait in (False, True):
        for number, block in enumerate(grid):
            known = read_cells(runs.folder / "cells.jsonl")
            left = _unfinished(known, block)
            if not left:
                continue
            ahead = _unfinished(known, chain(*grid[number + 1 :])) if team_size > 1 else []
            started = with_team_members(left, ahead, team_size, runs.team)
            if not budget.has_room(sum(_expected_seconds(known, spec) for spec in started)):
                runs.reporter.say("the budget is used up; the same command continues from here")
                return
            for spec in left:
                if not budget.has_room(0):
                    return
                if not may_wait and runs.is_awaited(spec):
                    runs.help_with_metaprompt(spec)
                else:
                    team = team_of(spec, [*left, *ahead], runs.team)
                    _compute_claimed(runs, team, team_size, may_wait=may_wait)


def _compute_claimed(
    runs: Runs, candidates: Iterator[CellSpec], size: int, *, may_wait: bool
) -> None:
    """Compute the first cells, at most ``size``, that no process has computed or is computing."""
    path = runs.folder / "cells.jsonl"
    ready = (spec for spec in candidates if may_wait or not runs.is_awaited(spec))
    with _claimed(runs, ready, size) as team:
        for cell in _compute(runs, team):
            append_cell(path, cell)
            runs.reporter.say(_in_words(cell))


def _unfinished(known: Sequence[Cell], specs: Iterable[CellSpec]) -> list[CellSpec]:
    done = {cell.key() for cell in known}
    return [spec for spec in specs if spec.key not in done]


@contextmanager
def _claimed(runs: Runs, candidates: Iterator[CellSpec], size: int) -> Iterator[list[CellSpec]]:
    """Yield the first cells, at most ``size``, that no process has computed or is computing.

    They are claimed while the block runs. If another process has the first candidate, yield none.
    """
    path, team = runs.folder / "cells.jsonl", list[CellSpec]()
    with ExitStack() as stack:
        for spec in candidates:
            is_ours = stack.enter_context(runs.claims.claim(f"cell {spec.key}"))
            if is_ours and _unfinished(read_cells(path), [spec]):
                team.append(spec)
            if not team or len(team) == size:
                break
        yield team


def _compute(runs: Runs, team: Sequence[CellSpec]) -> Iterator[Cell]:
    """Yield the cells of a team: one cell, or several that are trained side by side."""
    if not team:
        return
    members = []
    for spec in team:
        runs.train_on_sources(spec)
        needs_metaprompt = method_of(spec.method).needs_metaprompt
        metaprompt = runs.metaprompt(spec.backbone, spec.variant) if needs_metaprompt else None
        members.append(Member(runs.open(spec.backbone, spec.variant), spec, metaprompt))
    if len(members) == 1:
        yield compute_cell(members[0])
    else:
        yield from compute_cells(members)


def _expected_seconds(known: Sequence[Cell], spec: CellSpec) -> float:
    """Return the mean seconds of the known cells that are most like a cell; 0 if none is known.

    Those of its method and number of examples are most like it, then those of its number of
    examples, then those of its method.
    """
    same = [cell for cell in known if cell.backbone == spec.key[0]]
    of_shots = [cell for cell in same if cell.shots == spec.shots]
    of_method = [cell for cell in same if cell.method == spec.method]
    of_both = [cell for cell in of_shots if cell.method == spec.method]
    alike = of_both or of_shots or of_method or known
    return fmean(cell.train_seconds + cell.evaluate_seconds for cell in alike) if alike else 0.0


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


def _in_words(cell: Cell) -> str:
    interval = f"[{cell.low:.2f}, {cell.high:.2f}]"
    return (
        f"{cell.target}  {cell.method}  {shots_name(cell.shots)}: {cell.metric} {cell.value:.3f} "
        f"{interval}"
    )


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as 90s, 30m, 1.5h.

    Raises:
        SettingError: the text is not a duration.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * units[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingError(f"budget {text!r}: write a duration such as 90s, 30m or 2h")
    return seconds
