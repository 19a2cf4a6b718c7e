"""Compute the missing cells of a comparison, several processes in the same grid.

A process claims a cell before it computes it, or with ``compare.together`` a whole team of cells
that are trained side by side. It loses at most this team if it is killed.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain

from clinprompt.evaluation.cells import Cell, append_cell, read_cells, shots_name
from clinprompt.jobs.comparison.budget import Budget, expected_seconds
from clinprompt.jobs.comparison.cell import Member, compute_cell, compute_cells
from clinprompt.jobs.comparison.grid import Block, CellSpec
from clinprompt.jobs.comparison.learned import Learned
from clinprompt.jobs.comparison.teams import team_key, team_of, with_team_members
from clinprompt.jobs.comparison.variants import Runs
from clinprompt.methods.table import method_of


def fill(runs: Runs, grid: Sequence[Block], team_size: int, budget: Budget) -> None:
    """Compute the cells that no process has computed or is computing.

    Cells whose metaprompt another process is making come last. Until then, this process helps to
    train its teachers and computes other cells.
    """
    learned, key = Learned(runs), partial(team_key, runs.settings)
    for may_wait in (False, True):
        for number, block in enumerate(grid):
            known = read_cells(runs.folder / "cells.jsonl")
            left = _unfinished(known, block)
            if not left:
                continue
            ahead = _unfinished(known, chain(*grid[number + 1 :])) if team_size > 1 else []
            started = with_team_members(left, ahead, team_size, key)
            if not budget.has_room(sum(expected_seconds(known, spec) for spec in started)):
                runs.reporter.say("the budget is used up; the same command continues from here")
                return
            for spec in left:
                if not budget.has_room(0):
                    return
                if not may_wait and learned.is_awaited(spec):
                    learned.help_with_metaprompt(spec)
                else:
                    team = team_of(spec, [*left, *ahead], key)
                    _compute_claimed(learned, team, team_size, may_wait=may_wait)


def _compute_claimed(
    learned: Learned, candidates: Iterator[CellSpec], size: int, *, may_wait: bool
) -> None:
    """Compute the first cells, at most ``size``, that no process has computed or is computing."""
    runs = learned.runs
    path = runs.folder / "cells.jsonl"
    ready = (spec for spec in candidates if may_wait or not learned.is_awaited(spec))
    with _claimed(runs, ready, size) as team:
        for cell in _compute(learned, team):
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


def _compute(learned: Learned, team: Sequence[CellSpec]) -> Iterator[Cell]:
    """Yield the cells of a team: one cell, or several that are trained side by side."""
    if not team:
        return
    members = []
    for spec in team:
        learned.train_on_sources(spec)
        needs_metaprompt = method_of(spec.method).needs_metaprompt
        metaprompt = learned.metaprompt(spec.backbone, spec.variant) if needs_metaprompt else None
        members.append(Member(learned.runs.open(spec.backbone, spec.variant), spec, metaprompt))
    if len(members) == 1:
        yield compute_cell(members[0])
    else:
        yield from compute_cells(members)


def _in_words(cell: Cell) -> str:
    interval = f"[{cell.low:.2f}, {cell.high:.2f}]"
    return (
        f"{cell.target}  {cell.method}  {shots_name(cell.shots)}: {cell.metric} {cell.value:.3f} "
        f"{interval}"
    )
