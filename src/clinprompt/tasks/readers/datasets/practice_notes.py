"""Read the synthetic practice notes as if they were a data set. Opens no files."""

from collections.abc import Iterator
from functools import cache
from typing import Literal

from pydantic import Field

from clinprompt.errors import DataError, did_you_mean
from clinprompt.settings.groups import Settings
from clinprompt.tasks.practice.notes import PracticeTask, make_records
from clinprompt.tasks.records import Record


class PracticeReader(Settings):
    """Draw ``train``, ``validation`` and ``test`` invented records of one practice task."""

    name: Literal["practice"]
    task: PracticeTask
    seed: int = 0
    train: int = Field(default=240, ge=0)
    validation: int = Field(default=60, ge=0)
    test: int = Field(default=120, ge=0)

    def read_split(self, split: str) -> Iterator[Record]:
        """Draw the records of one split; equal readers draw equal records.

        Raises:
            DataError: ``split`` is not train, validation or test.
        """
        counts = {"train": self.train, "validation": self.validation, "test": self.test}
        if split not in counts:
            raise DataError(f"practice: no split {split!r}; {did_you_mean(split, counts)}")
        yield from _records(self.task, split, counts[split], self.seed)


@cache
def _records(task: PracticeTask, split: str, count: int, seed: int) -> tuple[Record, ...]:
    """Return the records of one split; keep them, because drawing hundreds takes a second."""
    return tuple(make_records(task, split, count=count, seed=seed))
