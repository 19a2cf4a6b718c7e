"""Write a run's metrics as JSON Lines. Knows nothing of what they mean; never holds record text."""

import json
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.files import append_line, write_text


class RunLog:
    """Rows of ``metrics.jsonl``, each with its phase and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Append one row."""
        append_line(self.path, json.dumps({"phase": phase, "step": step, **values}))

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows; a half-written last line is left out.

        Raises:
            RunError: another line is damaged.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
        return [self._row(number, line) for number, line in enumerate(lines, start=1)]

    def _row(self, number: int, line: str) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise RunError(f"{self.path}:{number}: damaged; delete this line") from error

    def forget(self, phase: str, *, after: int) -> None:
        """Drop the rows of a phase that come after a step, before the phase goes on from there."""
        rows = self.rows()
        kept = [row for row in rows if row["phase"] != phase or row["step"] <= after]
        if len(kept) < len(rows):
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
