"""Fill the grid of a comparison, cell by cell, and write its report.

Every finished cell is one line of ``cells.jsonl``; the same command goes on after a stop. Several
processes, on one machine or on several over a shared folder, may fill one grid together.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from time import monotonic

from clinprompt.config import RunConfig, split_method
from clinprompt.errors import SettingError
from clinprompt.evaluation.cells import Cell, append_cell, read_cells, shots_name
from clinprompt.evaluation.report import write_report
from clinprompt.evaluation.tables import Table, score_tables
from clinprompt.files import Claims, write_text
from clinprompt.recipes.behind import Behind
from clinprompt.recipes.cell import compute_cell
from clinprompt.recipes.context import CLAIMS, Run, check_is_run
from clinprompt.recipes.grid import Block, Wanted, blocks, chosen_targets
from clinprompt.recipes.methods import NEED_METAPROMPT
from clinprompt.recipes.suite import SuiteData, check_suite, load_suite
from clinprompt.recipes.summary import report_contents
from clinprompt.training.progress import Reporter


@dataclass
class Budget:
    """Seconds that a call may take; None is no limit. The clock starts when it is made."""

    seconds: float | None = None
    clock: Callable[[], float] = monotonic
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    def has_room(self, expected: float) -> bool:
        """Tell whether so many more seconds fit."""
        return self.seconds is None or self.clock() - self._begun + expected <= self.seconds


@dataclass(frozen=True, slots=True)
class Request:
    """A comparison to make: where, of what, from which data, in what time; how to repeat it."""

    folder: Path
    config: RunConfig
    mirror: Path | None
    command: str
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All cells that there are, the tables of scores, and how many cells are still wanting."""

    cells: list[Cell]
    tables: list[Table]
    num_wanting: int


def compare(request: Request, reporter: Reporter) -> Outcome:
    """Fill a comparison's grid, or what is left of it and fits the budget, and write the report.

    A block of cells (all methods on one target) is begun only if it is expected to end in time, by
    what its methods took before, and no cell is begun after that.

    Raises:
        ClinpromptError: a setting, task, file or backbone is not usable; the message says how to go
            on.
    """
    config, folder = request.config, request.folder
    suite = _suite(config, request.mirror)
    check_is_run(folder)
    claims = Claims(folder / CLAIMS)
    behind = Behind(folder, config, suite, request.mirror, claims, reporter)
    plain = behind.run()
    _tell(reporter, suite)
    if not config.metaprompt:
        for data in suite.sources:
            plain.training_rows(data)
    for data in suite.targets if config.compare.shots else ():
        plain.few_rows(data, 1, seed=config.compare.seeds[0])
    grid = list(blocks(config.compare, config.backbone, suite.targets))
    _fill(behind, grid, request.budget)
    path = folder / "cells.jsonl"
    cells = _in_order(read_cells(path), grid)
    claims.close()
    wanting = sum(len(block) for block in grid) - len(cells)
    if not cells:
        return Outcome([], [], wanting)
    return Outcome(cells, _report(plain, suite, cells, request.command), wanting)


def _suite(config: RunConfig, mirror: Path | None) -> SuiteData:
    suite = load_suite(config.suite, config.data, mirror)
    check_suite(suite, config)
    return suite.with_targets(chosen_targets(config.compare, suite.targets))


def _fill(behind: Behind, grid: Sequence[Block], budget: Budget) -> None:
    """Compute the cells that no process has and none is computing."""
    path = behind.folder / "cells.jsonl"
    for block in grid:
        known = read_cells(path)
        done = {cell.key() for cell in known}
        left = [wanted for wanted in block if wanted.key not in done]
        if not left:
            continue
        if not budget.has_room(sum(_expected(known, wanted) for wanted in left)):
            behind.reporter.say("the budget is spent; the same command goes on from here")
            return
        for wanted in left:
            if not budget.has_room(0):
                return
            with behind.claims.claim(f"cell {wanted.key}") as is_ours:
                if is_ours and wanted.key not in {cell.key() for cell in read_cells(path)}:
                    cell = _compute(behind, wanted)
                    append_cell(path, cell)
                    behind.reporter.say(_in_words(cell))


def _compute(behind: Behind, wanted: Wanted) -> Cell:
    method, variant = split_method(wanted.method)
    metaprompt = None
    if method in NEED_METAPROMPT:
        metaprompt = behind.metaprompt(wanted.backbone, variant)
    return compute_cell(behind.run(wanted.backbone, variant), wanted, metaprompt)


def _expected(known: Sequence[Cell], wanted: Wanted) -> float:
    """Return the seconds that a cell of the method took on average, or of any, 0 before all."""
    backbone = wanted.key[0]
    own = [cell for cell in known if (cell.backbone, cell.method) == (backbone, wanted.method)]
    taken = [cell.train_seconds + cell.evaluate_seconds for cell in own or known]
    return fmean(taken) if taken else 0.0


def _in_order(cells: Sequence[Cell], grid: Sequence[Block]) -> list[Cell]:
    """Return the cells of the grid in its order, whoever finished first."""
    known = {cell.key(): cell for cell in cells}
    return [known[wanted.key] for block in grid for wanted in block if wanted.key in known]


def _report(run: Run, suite: SuiteData, cells: Sequence[Cell], command: str) -> list[Table]:
    contents = report_contents(run, suite, cells, command)
    folder = run.folder / "report"
    write_report(folder, contents)
    baselines = {name: asdict(baseline) for name, baseline in contents.baselines.items()}
    write_text(folder / "baselines.json", json.dumps(baselines, indent=2) + "\n")
    return score_tables(cells, contents.baselines)


def _tell(reporter: Reporter, suite: SuiteData) -> None:
    for lack in suite.missing:
        reporter.say(f"suite {suite.name}: {lack}")
    _tell_counts(reporter, suite.dropped, "rows dropped, they overlap a target")
    _tell_counts(reporter, suite.copies, "training rows dropped, they are test rows too")


def _tell_counts(reporter: Reporter, counts: Mapping[str, int], what: str) -> None:
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
        SettingError: it is none.
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
