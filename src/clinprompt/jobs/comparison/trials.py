"""The trials of a search, and the file that keeps a line for each finished one.

Every trial is one line of ``search.jsonl``; one that was killed while it was written is run again.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.files import complete_lines
from clinprompt.settings.groups import JudgedBy, SearchSettings
from clinprompt.tasks.load import TaskData

SEARCH_FILE = "search.jsonl"


@dataclass(frozen=True, slots=True)
class Trial:
    """One method with other settings on one held-out task with one seed."""

    method: str
    number: int
    changes: Mapping[str, Any]
    data: TaskData
    shots: int
    seed: int

    @property
    def key(self) -> str:
        """Return what identifies this trial."""
        return key_of(self.method, self.changes, self.data.card.name, self.shots, self.seed)

    @property
    def phase(self) -> str:
        """Return the name of its log and checkpoint, which no other trial has."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        name = f"{self.method}-{self.data.card.name}-k{self.shots}-seed{self.seed}"
        return f"search/{name}-{digest}"


def key_of(method: str, changes: Mapping[str, Any], task: str, shots: int, seed: int) -> str:
    """Return what identifies a trial; the order of its changed settings does not count."""
    return json.dumps([method, changes, task, shots, seed], sort_keys=True)


def trials_of(settings: SearchSettings, held_out: Sequence[TaskData]) -> Iterator[Trial]:
    """Yield trials in an order such that a stopped search has tried all methods equally often."""
    for seed in settings.seeds:
        for data in held_out:
            for number in range(len(next(iter(settings.trials.values())))):
                for method, trials in settings.trials.items():
                    yield Trial(method, number, trials[number], data, settings.shots, seed)


def finished_trials(path: Path, judged_by: JudgedBy) -> dict[str, dict[str, Any]]:
    """Return the lines of finished trials by key, without a half-written last line.

    Lines of a search that was judged by loss have no score; judged by score, their trials are run
    again.
    """
    lines, _ = complete_lines(path)
    try:
        finished = {line["key"]: line for line in map(json.loads, lines) if judged_by in line}
        for line in finished.values():
            if lacking := {"task", "loss", "seconds"} - line.keys():
                raise KeyError(*lacking)
        return finished
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged; delete the line that is not JSON") from error


def in_words(changes: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested settings as section.key=value words."""
    words = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            words.append(in_words(value, f"{prefix}{key}."))
        else:
            words.append(f"{prefix}{key}={value}")
    return " ".join(words)
