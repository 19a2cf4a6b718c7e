"""Fill the grid of a comparison, cell by cell, and write its report.

Every finished cell is one line of ``cells.jsonl``; the same command goes on after a stop. Several
processes, on one machine or on several over a shared folder, may fill one grid together. With
``compare.together`` cells that train prompts do so in teams: a team is claimed as a whole, and a
process that is killed loses at most the team in hand.
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
from clinprompt.evaluation.report.write_report import write_report
from clinprompt.files import Claims, write_text
from clinprompt.jobs.comparison.cell import compute_cell, compute_cells
from clinprompt.jobs.comparison.grid import Block, Wanted, blocks, chosen_targets, mates, reach
from clinprompt.jobs.comparison.report_contents import report_contents
from clinprompt.jobs.comparison.variants import Runs
from clinprompt.jobs.planning.estimates import trained_numbers
from clinprompt.methods.metaprompts import check_start, find_metaprompt
from clinprompt.runs.folder import CLAIMS, check_is_run
from clinprompt.runs.run import Run, plain_name
from clinprompt.runs.suite_data import SuiteData, cards_of, check_suite, learned_suites, load_suite
from clinprompt.settings.groups import NEED_METAPROMPT, split_method
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.suite import find_suite
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
    what its methods took before, together with the cells of later blocks that fill up its teams;
    no cell or team is begun after that.

    Raises:
        ClinpromptError: a setting, task, file or backbone is not usable; the message says how to go
            on.
    """
    config, folder = request.config, request.folder
    suite = _suite(config, request.mirror)
    check_is_run(folder)
    claims = Claims(folder / CLAIMS)
    runs = Runs(folder, config, suite, request.mirror, claims, reporter)
    _tell(reporter, suite)
    _check_metaprompts(config, suite)
    _check_methods(config)
    _check_answers(runs.run(), suite)
    grid = list(blocks(config.compare, config.backbone, suite.targets))
    for backbone, variant in {(w.backbone, split_method(w.method)[1]) for w in chain(*grid)}:
        runs.check(backbone, variant)
    _fill(runs, grid, request.budget)
    path = folder / "cells.jsonl"
    cells = _in_order(read_cells(path), grid, config.compare.ablations)
    claims.close()
    wanting = sum(len(block) for block in grid) - len(cells)
    if not cells:
        return Outcome([], [], wanting)
    return Outcome(cells, _report(runs.run(), suite, cells, request.command), wanting)


def _suite(config: RunConfig, mirror: Path | None) -> SuiteData:
    suite = load_suite(
        config.suite,
        config.data,
        mirror,
        with_sources=config.suite in learned_suites(config),
        targets=chosen_targets(config.compare, tuple(cards_of(find_suite(config.suite).targets))),
    )
    check_suite(suite, config)
    return suite


def _check_metaprompts(config: RunConfig, suite: SuiteData) -> None:
    """Check that the metaprompts that are given have seen no target, and can start every one."""
    for variant in config.variants_of(NEED_METAPROMPT):
        own = config.varied(variant)
        if own.metaprompt:
            found = find_metaprompt(own.metaprompt, plain_name(config.backbone))
            check_start(found, [data.card for data in suite.targets], own.adapt.routing)


def _check_methods(config: RunConfig) -> None:
    """Check that every backbone has the layers that LoRA is to go into."""
    for backbone in config.backbones:
        if outline := inspect_backbone(backbone).sizes:
            for method in config.compare.methods:
                trained_numbers(method, config, outline)


def _check_answers(run: Run, suite: SuiteData) -> None:
    """Check, before hours of training, that each task has answers of a fitting length."""
    for data in suite.sources:
        run.training_rows(data)
    for data in suite.targets if run.config.compare.shots else ():
        run.few_rows(data, 1, seed=run.config.compare.seeds[0])


def _fill(runs: Runs, grid: Sequence[Block], budget: Budget) -> None:
    """Compute the cells that no process has and none is computing."""
    path = runs.folder / "cells.jsonl"
    size = runs.config.compare.together
    for number, block in enumerate(grid):
        known = read_cells(path)
        left = _unfinished(known, block)
        if not left:
            continue
        ahead = _unfinished(known, chain(*grid[number + 1 :])) if size > 1 else []
        begun = reach(left, ahead, size)
        if not budget.has_room(sum(_expected(known, wanted) for wanted in begun)):
            runs.reporter.say("the budget is spent; the same command goes on from here")
            return
        for wanted in left:
            if not budget.has_room(0):
                return
            with _claimed(runs, mates(wanted, [*left, *ahead]), size) as team:
                for cell in _compute(runs, team):
                    append_cell(path, cell)
                    runs.reporter.say(_in_words(cell))


def _unfinished(known: Sequence[Cell], wanted: Iterable[Wanted]) -> list[Wanted]:
    done = {cell.key() for cell in known}
    return [one for one in wanted if one.key not in done]


@contextmanager
def _claimed(runs: Runs, candidates: Iterator[Wanted], size: int) -> Iterator[list[Wanted]]:
    """Yield the first cells, at most so many, that nobody has or is computing; ours for the block.

    None, where the very first is not ours.
    """
    path, team = runs.folder / "cells.jsonl", list[Wanted]()
    with ExitStack() as stack:
        for wanted in candidates:
            is_ours = stack.enter_context(runs.claims.claim(f"cell {wanted.key}"))
            if is_ours and _unfinished(read_cells(path), [wanted]):
                team.append(wanted)
            if not team or len(team) == size:
                break
        yield team


def _compute(runs: Runs, team: Sequence[Wanted]) -> Iterator[Cell]:
    """Yield the cells of a team, which is one cell or several that are trained side by side."""
    if not team:
        return
    backbone, variant = team[0].backbone, split_method(team[0].method)[1]
    metaprompt = None
    if any(split_method(wanted.method)[0] in NEED_METAPROMPT for wanted in team):
        metaprompt = runs.metaprompt(backbone, variant)
    run = runs.run(backbone, variant)
    if len(team) == 1:
        yield compute_cell(run, team[0], metaprompt)
    else:
        yield from compute_cells(run, team, metaprompt)


def _expected(known: Sequence[Cell], wanted: Wanted) -> float:
    """Return the seconds that a cell of the method took on average, or of any, 0 before all."""
    backbone = wanted.key[0]
    own = [cell for cell in known if (cell.backbone, cell.method) == (backbone, wanted.method)]
    taken = [cell.train_seconds + cell.evaluate_seconds for cell in own or known]
    return fmean(taken) if taken else 0.0


def _in_order(cells: Sequence[Cell], grid: Sequence[Block], ablations: Sequence[str]) -> list[Cell]:
    """Return the cells of the grid in its order, whoever finished first; mark the ablations."""
    known = {
        cell.key(): cell.model_copy(
            update={"is_ablation": split_method(cell.method)[1] in ablations}
        )
        for cell in cells
    }
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
