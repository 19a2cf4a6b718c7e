"""The time that a call of ``compare`` may take, and how long a cell is expected to take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from time import monotonic

from clinprompt.errors import SettingError
from clinprompt.evaluation.cells import Cell
from clinprompt.jobs.comparison.grid import CellSpec


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


def expected_seconds(known: Sequence[Cell], spec: CellSpec) -> float:
    """Return the mean seconds of the known cells that are most like a cell; 0 if none is known.

    Those of its method and number of examples are most like it, then those of its number of
    examples, then those of its method. The time to encode rows is not included.
    """
    same = [cell for cell in known if cell.backbone == spec.key[0]]
    of_shots = [cell for cell in same if cell.shots == spec.shots]
    of_method = [cell for cell in same if cell.method == spec.method]
    of_both = [cell for cell in of_shots if cell.method == spec.method]
    alike = of_both or of_shots or of_method or known
    return fmean(cell.train_seconds + cell.evaluate_seconds for cell in alike) if alike else 0.0
