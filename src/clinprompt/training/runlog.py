"""Write a run's metrics as JSON Lines. Knows nothing of what they mean; never holds record text.

Lines are only ever appended, so several processes can write one log. A phase that goes on after a
stop adds a line with ``resumed``: its rows after that step came before the stop and do not count.
"""

import json
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.files import append_line


class RunLog:
    """Rows of ``metrics.jsonl``, each with its phase and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Append one row."""
        append_line(self.path, json.dumps({"phase": phase, "step": step, **values}))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that count, in order; a half-written last line is left out.

        Raises:
            RunError: another line is damaged.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
        rows = [self._row(number, line) for number, line in enumerate(lines, start=1)]
        last: dict[str, int] = {}  # of each phase: its last step before the next resumption
        counted = []
        for row in reversed(rows):
            phase, step = row["phase"], row["step"]
            if "resumed" in row:
                last[phase] = min(step, last.get(phase, step))
            elif step <= last.get(phase, step):
                counted.append(row)
        return counted[::-1]

    def _row(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = dict(json.loads(line))
            row["phase"], row["step"]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self.path}:{number}: damaged; delete this line") from error
        return row

    def forget(self, phase: str, *, after: int) -> None:
        """Let a phase's rows after a step not count any more, before it goes on from there."""
        named = f'"phase": {json.dumps(phase)}'
        if not self.path.is_file() or named not in self.path.read_text(encoding="utf-8"):
            return  # a new phase, as most are: long logs take long to read as rows
        if any(row["phase"] == phase and row["step"] > after for row in self.rows()):
            self.add(phase, after, {"resumed": 1})
