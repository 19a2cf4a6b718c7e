"""Lay out the cells of a comparison in an order that may be cut anywhere. Computes nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from clinprompt.errors import SettingError, did_you_mean
from clinprompt.evaluation.cells import CellKey, cell_name
from clinprompt.methods.table import TRAIN_PROMPTS
from clinprompt.runs.run import plain_name
from clinprompt.settings.groups import ZERO_SHOT, CompareSettings, Shots, split_method
from clinprompt.tasks.load import TaskData


@dataclass(frozen=True, slots=True)
class Wanted:
    """One cell that a comparison asks for; ``method`` may be METHOD@VARIANT."""

    backbone: str
    data: TaskData
    method: str
    shots: Shots
    seed: int

    @property
    def key(self) -> CellKey:
        """Return what tells this cell from every other."""
        backbone = plain_name(self.backbone)
        return (backbone, self.data.card.name, self.method, self.shots, self.seed)

    @property
    def name(self) -> str:
        """Return the cell's name within its backbone, which may become a path."""
        return cell_name(self.data.card.name, self.method, self.shots, self.seed)

    @property
    def team(self) -> tuple[str, str, Shots, int] | None:
        """Return what cells have in common that can be trained side by side; None: this cannot."""
        method, variant = split_method(self.method)
        return (self.backbone, variant, self.shots, self.seed) if method in TRAIN_PROMPTS else None


Block = tuple[Wanted, ...]


def mates(wanted: Wanted, unfinished: Iterable[Wanted]) -> Iterator[Wanted]:
    """Yield a cell, then those that can be trained side by side with it, in their order."""
    yield wanted
    if wanted.team:
        yield from (one for one in unfinished if one.team == wanted.team and one.key != wanted.key)


def reach(left: Sequence[Wanted], ahead: Sequence[Wanted], size: int) -> list[Wanted]:
    """Return the cells that are begun with ``left``: also those ahead that fill up its last teams.

    ``size`` is how many cells make a team.
    """
    begun = list(left)
    for team, count in Counter(one.team for one in left if one.team).items():
        begun += islice((one for one in ahead if one.team == team), -count % size)
    return begun


def blocks(compare: CompareSettings, backbone: str, targets: Sequence[TaskData]) -> Iterator[Block]:
    """Yield the grid block by block: all methods on one target, at one number of shots, one seed.

    Targets of different types take turns, so a grid that is cut after any block compares all
    methods on the same rows, and the types evenly.
    """
    ordered = _in_turn(targets)
    for name in compare.backbones or (backbone,):
        for seed in compare.seeds:
            for shots in (0, *compare.shots):
                for data in ordered:
                    methods = _methods(compare, shots, seed)
                    if methods:
                        yield tuple(Wanted(name, data, one, shots, seed) for one in methods)


def chosen_targets(compare: CompareSettings, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the targets that the comparison is narrowed to.

    Raises:
        SettingError: the suite has no such target.
    """
    if unknown := [name for name in compare.targets if name not in targets]:
        raise SettingError(
            f"compare.targets: the suite has no target {unknown[0]!r}; "
            f"{did_you_mean(unknown[0], targets)}"
        )
    return compare.targets or tuple(targets)


def _methods(compare: CompareSettings, shots: Shots, seed: int) -> list[str]:
    """Return the methods that have a cell at so many shots; untrained ones need one seed only."""

    def has_cell(name: str) -> bool:
        method = split_method(name)[0]
        if method in ZERO_SHOT:
            return shots == 0 and seed == compare.seeds[0]
        return shots != 0 and not (method == "in-context" and shots == "all")

    return [name for name in compare.methods if has_cell(name)]


def _in_turn(targets: Sequence[TaskData]) -> list[TaskData]:
    by_type: dict[str, list[TaskData]] = {}
    for data in targets:
        by_type.setdefault(data.card.type, []).append(data)
    rounds = chain.from_iterable(zip_longest(*by_type.values()))
    return [data for data in rounds if data is not None]
