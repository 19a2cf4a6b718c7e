"""Keep the loaded and cleaned tasks of a suite as one compressed file each, to load them quickly.

A folder of packed tasks takes the place of the mirror on a machine that has no mirror, or no time
to read it. It holds text of records: protect it like the data. Only what one run reads is kept:
samples as large as ``data.train_rows`` and so on, drawn by the run's seed.
"""

import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clinprompt.batches.mixture import SPLIT_SEEDS, sample
from clinprompt.errors import DataError
from clinprompt.files import write_bytes
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import FOUND_IN_RECORDS, TaskCard
from clinprompt.tasks.card_parts import SPLITS, Split
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Record

_ENDING = ".json.xz"
_RECORDS = TypeAdapter(tuple[Record, ...])


def pack_tasks(folder: Path, tasks: Sequence[TaskData], config: RunConfig, *, splits: int) -> int:
    """Write the records of tasks that a run reads, one file a task; return their bytes.

    ``splits`` is how many splits are kept, in the order train, validation, test: sources need two.
    """
    from clinprompt.runs.examples import max_test_rows  # noqa: PLC0415 - it imports torch

    total = 0
    for data in tasks:
        num_tests = max_test_rows(config.data, data.card)
        limits = (config.data.train_rows, config.data.validation_rows, num_tests)
        kept = {
            split: _RECORDS.dump_python(
                sample(data.splits[split], limit, seed=config.seed + SPLIT_SEEDS[split])
                if number < splits
                else (),
                mode="json",
            )
            for number, (split, limit) in enumerate(zip(SPLITS, limits, strict=True))
        }
        found = data.card.model_dump(mode="json", include=set(FOUND_IN_RECORDS))
        values = {"card": _identity(data.card), "found": found, "splits": kept}
        content = lzma.compress(json.dumps(values).encode(), preset=6)
        write_bytes(_file(folder, data.card.name), content)
        total += len(content)
    return total


def has_packed(folder: Path) -> bool:
    """Return whether a folder holds packed tasks."""
    return next(folder.glob(f"*{_ENDING}"), None) is not None


def is_packed(folder: Path, name: str) -> bool:
    """Return whether a folder has the packed records of a task."""
    return _file(folder, name).is_file()


def load_packed(folder: Path, card: TaskCard) -> TaskData:
    """Load the packed records of a task.

    Raises:
        DataError: the file is missing or damaged, or the task's card has changed.
    """
    path = _file(folder, card.name)
    if not path.is_file():
        raise DataError(f"{folder}: {card.name} is not among the packed tasks; pack it too")
    try:
        values: Mapping[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
        same = values["card"] == _identity(card)
        stated = card.model_dump(mode="json", exclude=set(FOUND_IN_RECORDS))
        loaded = TaskCard.model_validate({**stated, **values["found"], "path": card.path})
        splits: dict[Split, tuple[Record, ...]] = {
            split: _RECORDS.validate_python(values["splits"][split]) for split in SPLITS
        }
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged; pack the suite again") from error
    if not same:
        raise DataError(f"{path}: the card of {card.name} has changed; pack the suite again")
    return TaskData(loaded, splits)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}{_ENDING}"


def _identity(card: TaskCard) -> dict[str, Any]:
    """Return what the records of a task depend on: its type, answer and labels."""
    return {"type": card.type, "answer": card.answer, "labels": list(card.labels)}
