"""Keep results as cells, one line of JSON each. Knows nothing of how a score came about.

A *cell* is one method on one target task at one number of shots with one seed, on one backbone. A
line counts once it ends in a newline, so a run that was killed while writing loses at most the cell
that it was writing.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clinprompt.errors import DataError
from clinprompt.files import append_line
from clinprompt.settings.groups import Shots

CellKey = tuple[str, str, str, Shots, int]


class Cell(BaseModel):
    """One result. Scores and shares run from 0 to 1; ``shots`` is 0 for zero-shot.

    ``num_examples`` training rows were seen: fewer than ``shots`` where the task has no more.
    ``unparseable`` is a share of rows, ``ungrounded`` of mentions or links, ``truncated`` of rows
    whose input was cut. ``detectable`` is the least difference from another score on as many rows
    that would be significant. ``extra`` holds further metrics by name (partial F1, exact match).
    ``statistics`` [N, S] are what the metric sums over the N test rows (see ``metrics``), and
    ``row_digest`` tells which rows they are: cells of one digest can be compared row by row.
    ``is_ablation`` tells that a variant (METHOD@VARIANT) is held against its plain form only.
    ``peak_bytes`` is the most memory that the process held meanwhile (0: not known).
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
        """Return what tells this cell from every other: backbone, target, method, shots, seed."""
        return (self.backbone, self.target, self.method, self.shots, self.seed)


def cell_name(target: str, method: str, shots: Shots, seed: int) -> str:
    """Return a cell's name within its backbone, which may become a path."""
    return f"{target}/{method}-k{shots}-seed{seed}"


def shots_order(shots: Shots) -> float:
    """Return what shots are sorted by: ``all`` comes last."""
    return float("inf") if shots == "all" else shots


def shots_name(shots: Shots) -> str:
    """Return ``zero-shot``, ``16-shot`` or ``all rows``."""
    if shots == "all":
        return "all rows"
    return f"{shots}-shot" if shots else "zero-shot"


def append_cell(path: Path, cell: Cell) -> None:
    """Add one cell durably, in place of a half-written last line if there is one.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    append_line(path, cell.model_dump_json())


def read_cells(path: Path) -> list[Cell]:
    """Read every cell in order; a missing file has none, a half-written last line is left out.

    Where two lines have one key, the later one counts: it was written by a later run.

    Raises:
        DataError: a whole line is not a cell.
    """
    if not path.exists():
        return []
    *lines, _half_written = path.read_bytes().split(b"\n")
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
    """Return the cells of each backbone, in order of appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.backbone, []).append(cell)
    return groups
