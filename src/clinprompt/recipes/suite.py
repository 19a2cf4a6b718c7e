"""Load the tasks of a suite, cut to size and cleaned of overlap. Knows nothing of models."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.mixture import sample, shots
from clinprompt.config import DataSettings
from clinprompt.tasks.card import Split, TaskCard, find_card, find_suite
from clinprompt.tasks.example import Example, LabelAnswer, Record, RelationsAnswer, SpansAnswer
from clinprompt.tasks.formats import make_example
from clinprompt.tasks.load import TaskData, load_task
from clinprompt.tasks.overlap import drop_overlapping

MIRROR_VARIABLE = "CLINPROMPT_MIRROR"
_SPLIT_SEEDS: Mapping[Split, int] = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class SuiteData:
    """The tasks of a suite; ``dropped`` counts source rows that overlapped a target."""

    name: str
    sources: tuple[TaskData, ...]
    targets: tuple[TaskData, ...]
    dropped: Mapping[str, int]

    def source_cards(self) -> tuple[TaskCard, ...]:
        """Return the cards of the source tasks."""
        return tuple(data.card for data in self.sources)


def find_mirror(mirror: Path | None) -> Path | None:
    """Return the mirror folder: the one given, else the one that the environment names."""
    named = os.environ.get(MIRROR_VARIABLE)
    return mirror or (Path(named) if named else None)


def load_suite(name: str, settings: DataSettings, mirror: Path | None) -> SuiteData:
    """Load every task of a suite and drop source rows that share an n-gram with a target row.

    Raises:
        SettingError: the suite or a task in it is unknown.
        DataError: a file is missing, damaged or inconsistent.
    """
    suite = find_suite(name)
    place = find_mirror(mirror)
    sources = [load_task(find_card(task), place) for task in suite.sources]
    targets = [load_task(find_card(task), place) for task in suite.targets]
    kept, dropped = drop_overlapping(sources, targets, settings.overlap_words)
    return SuiteData(suite.name, tuple(kept), tuple(targets), dropped)


def examples_of(
    data: TaskData, split: Split, *, limit: int, seed: int, instruct: bool = False
) -> tuple[Example, ...]:
    """Return at most ``limit`` examples of a split, drawn by ``seed``."""
    records = sample(data.splits.get(split, ()), limit, seed=seed + _SPLIT_SEEDS[split])
    return tuple(make_example(data.card, record, instruct=instruct) for record in records)


def few_examples(data: TaskData, count: int, *, seed: int) -> tuple[Example, ...]:
    """Return ``count`` training examples, labels (or answers with and without content) balanced."""
    records = data.splits["train"]
    chosen = shots([_group(record) for record in records], count, seed=seed)
    return tuple(make_example(data.card, records[index]) for index in chosen)


def encode_all(encoder: Encoder, examples: Sequence[Example], task: int = 0) -> tuple[Row, ...]:
    """Encode the examples of one task."""
    return tuple(encoder.encode(example, task) for example in examples)


def _group(record: Record) -> str:
    match record.answer:
        case LabelAnswer(label):
            return label
        case SpansAnswer(spans):
            return "some" if spans else "none"
        case RelationsAnswer(relations):
            return "some" if relations else "none"
    return ""
