"""List the cells of a comparison, in an order that may be stopped anywhere. Computes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from clinprompt.errors import SettingError, did_you_mean
from clinprompt.evaluation.cells import CellKey, cell_name
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import CompareSettings, Shots, split_method
from clinprompt.settings.local_names import plain_name
from clinprompt.tasks.load import TaskData


@dataclass(frozen=True, slots=True)
class CellSpec:
    """One cell of the grid, computed or not; ``method`` may be METHOD@VARIANT."""

    backbone: str
    data: TaskData
    method: str
    shots: Shots
    seed: int

    @property
    def key(self) -> CellKey:
        """Return what identifies this cell."""
        backbone = plain_name(self.backbone)
        return (backbone, self.data.card.name, self.method, self.shots, self.seed)

    @property
    def name(self) -> str:
        """Return a name that is unique among the cells of a backbone, usable as a path."""
        return cell_name(self.data.card.name, self.method, self.shots, self.seed)

    @property
    def variant(self) -> str:
        """Return the variant whose settings the cell uses ("" for none)."""
        return split_method(self.method)[1]


Block = tuple[CellSpec, ...]


def blocks(compare: CompareSettings, backbone: str, targets: Sequence[TaskData]) -> Iterator[Block]:
    """Yield the grid block by block: all methods on one target with one number of shots and seed.

    Targets of different types take turns. So a grid that is stopped after any block compares all
    methods on the same rows, and has a similar number of targets of each type.
    """
    ordered = _in_turn(targets)
    for name in compare.backbones or (backbone,):
        for seed in compare.seeds:
            for shots in (0, *compare.shots):
                for data in ordered:
                    methods = _methods(compare, shots, seed)
                    if methods:
                        yield tuple(CellSpec(name, data, one, shots, seed) for one in methods)


def chosen_targets(compare: CompareSettings, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the targets that are compared: ``compare.targets``, or all.

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
    """Return the methods that have a cell at ``shots``; zero-shot methods need only one seed."""

    def has_cell(name: str) -> bool:
        method = method_of(name)
        if not method.uses_shots:
            return shots == 0 and seed == compare.seeds[0]
        return shots != 0 and (method.allows_all_shots or shots != "all")

    return [name for name in compare.methods if has_cell(name)]


def _in_turn(targets: Sequence[TaskData]) -> list[TaskData]:
    by_type: dict[str, list[TaskData]] = {}
    for data in targets:
        by_type.setdefault(data.card.type, []).append(data)
    rounds = chain.from_iterable(zip_longest(*by_type.values()))
    return [data for data in rounds if data is not None]
