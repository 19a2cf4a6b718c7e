"""Write the metrics of a run as JSON Lines. Never holds text of records.

Lines are only appended, so several processes can write to one log. A phase that resumes after an
interruption adds a line with ``resumed`` and a step: its older lines after that step do not count.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.files import append_line, complete_lines


class RunLog:
    """The lines of ``metrics.jsonl``, each with its phase and step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Append one line."""
        self.add_all([(phase, step, values)])

    def add_all(self, rows: Iterable[tuple[str, int, dict[str, float]]]) -> None:
        """Append a line for each phase, step and values, with one write to the disk."""
        lines = [json.dumps({"phase": phase, "step": step, **own}) for phase, step, own in rows]
        append_line(self.path, "\n".join(lines))

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines that count, in order, without an incomplete last line.

        Raises:
            RunError: another line is damaged.
        """
        lines, _ = complete_lines(self.path)
        rows = [self._row(number, line) for number, line in enumerate(lines, start=1)]
        last: dict[str, int] = {}  # of each phase: the last step that counts before it resumed
        counted = []
        for row in reversed(rows):
            phase, step = row["phase"], row["step"]
            if "resumed" in row:
                last[phase] = min(step, last.get(phase, step))
            elif step <= last.get(phase, step):
                counted.append(row)
        return counted[::-1]

    def _row(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = dict(json.loads(line))
            row["phase"], row["step"]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self.path}:{number}: this line is damaged; delete it") from error
        return row

    def forget(self, phase: str, *, after: int) -> None:
        """Discard the lines of a phase after a step, before the phase resumes from that step."""
        named = f'"phase": {json.dumps(phase)}'
        if not self.path.is_file() or named not in self.path.read_text(encoding="utf-8"):
            return  # a new phase, the usual case: parsing a long log is slow
        if any(row["phase"] == phase and row["step"] > after for row in self.rows()):
            self.add(phase, after, {"resumed": 1})
