"""Store results as cells, one line of JSON each. Knows nothing about how scores are computed.

A *cell* is the result of one method on one target task with one number of shots and one seed, on
one backbone. Only lines that end in a newline count, so a run that is killed while writing loses at
most the cell that it was writing.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clinprompt.errors import DataError
from clinprompt.files import append_line, complete_lines
from clinprompt.settings.groups import Shots

CellKey = tuple[str, str, str, Shots, int]


class Cell(BaseModel):
    """One result. Scores and shares are between 0 and 1; ``shots`` is 0 for zero-shot.

    ``num_examples`` is the number of training rows, less than ``shots`` if the task has fewer.
    ``unparseable`` is a share of rows, ``ungrounded`` of mentions or links, ``truncated`` of rows
    whose input was cut. ``detectable`` is the smallest difference between two scores on this many
    rows that would be significant. ``extra`` holds more metrics by name (partial F1, exact match).
    ``statistics`` [N, S] are the values that the metric sums over the N test rows (see
    ``metrics``). ``row_digest`` identifies these rows: cells with the same digest can be compared
    row by row. ``is_ablation`` marks a variant (METHOD@VARIANT) that is compared only with its
    plain form. ``peak_bytes`` is the peak memory of the process (0: not known).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    backbone: str = ""
    target: str
    task_type: str
    method: str
    is_ablation: bool = False
    shots: Shots
    num_examples: int = Field(default=0, ge=0)
    seed: int
    metric: str
    scorer: str
    value: float
    low: float
    high: float
    num_rows: int = Field(ge=1)
    detectable: float = Field(ge=0)
    trained_numbers: int = Field(default=0, ge=0)
    artifact_bytes: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    train_seconds: float = Field(default=0.0, ge=0)
    evaluate_seconds: float = Field(default=0.0, ge=0)
    tokens_per_second: float = Field(default=0.0, ge=0)
    unparseable: float = Field(default=0.0, ge=0, le=1)
    ungrounded: float = Field(default=0.0, ge=0, le=1)
    truncated: float = Field(default=0.0, ge=0, le=1)
    peak_bytes: int = Field(default=0, ge=0)
    extra: dict[str, float] = Field(default_factory=dict)
    row_digest: str = ""
    statistics: tuple[tuple[float, ...], ...] = ()

    def key(self) -> CellKey:
        """Return what identifies this cell: backbone, target, method, shots, seed."""
        return (self.backbone, self.target, self.method, self.shots, self.seed)


def cell_name(target: str, method: str, shots: Shots, seed: int) -> str:
    """Return the name of a cell within its backbone; it is also a path."""
    return f"{target}/{method}-k{shots}-seed{seed}"


def shots_order(shots: Shots) -> float:
    """Return a sort key for shots: ``all`` comes last."""
    return float("inf") if shots == "all" else shots


def shots_name(shots: Shots) -> str:
    """Return ``zero-shot``, ``16-shot`` or ``all rows``."""
    if shots == "all":
        return "all rows"
    return f"{shots}-shot" if shots else "zero-shot"


def append_cell(path: Path, cell: Cell) -> None:
    """Append one cell and wait until it is on the disk; an incomplete last line is replaced.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    append_line(path, cell.model_dump_json())


def read_cells(path: Path) -> list[Cell]:
    """Read all cells in order, without an incomplete last line; a missing file has no cells.

    If two lines have the same key, the last one counts: a later run wrote it.

    Raises:
        DataError: a complete line is not a cell.
    """
    lines, _ = complete_lines(path)
    cells: dict[CellKey, Cell] = {}
    for number, line in enumerate(lines, start=1):
        try:
            cell = Cell.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "line"
            raise DataError(
                f"{path}:{number}: not a result cell: {place}: {first['msg']}; delete this line to "
                "have it computed again"
            ) from error
        cells[cell.key()] = cell
    return list(cells.values())


def by_backbone(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return the cells by backbone, in order of appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.backbone, []).append(cell)
    return groups
