"""Read whole tasks and report what is in them. Knows nothing of models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clinprompt.errors import SettingError
from clinprompt.recipes.suite import find_mirror
from clinprompt.tasks.card import SPLITS, catalog, find_card, find_suite
from clinprompt.tasks.example import (
    Answer,
    Record,
    RelationsAnswer,
    SpansAnswer,
)
from clinprompt.tasks.formats import parse_answer, render_answer
from clinprompt.tasks.load import TaskData, load_task


def check_tasks(names: Sequence[str], *, suite: str, mirror: Path | None) -> list[dict[str, Any]]:
    """Return one row a task: rows by split, annotations, and the share that survives as text.

    Raises:
        SettingError: a task or suite is unknown, or none was named.
        DataError: a file is missing, damaged, or not the one the card describes.
    """
    if suite:
        found = find_suite(suite)
        names = (*names, *found.sources, *found.targets)
    if not names:
        raise SettingError(f"name a task or a suite to check; tasks: {', '.join(catalog())}")
    place = find_mirror(mirror)
    return [_check(load_task(find_card(name), place)) for name in names]


def _check(data: TaskData) -> dict[str, Any]:
    records = [record for split in SPLITS for record in data.splits.get(split, ())]
    survive = sum(_survives(data, record) for record in records)
    return {
        "task": data.card.name,
        "type": data.card.type,
        **{split: len(data.splits.get(split, ())) for split in SPLITS},
        "annotations": sum(_count(record.answer) for record in records),
        "survive_as_text": round(survive / len(records), 4),
        "license": data.card.source.license,
    }


def _survives(data: TaskData, record: Record) -> bool:
    """Return whether the answer, written as text and read again, is the same."""
    again = parse_answer(data.card, record, render_answer(data.card, record))
    return _plain(again) == _plain(record.answer)


def _plain(answer: Answer | None) -> object:
    """Return an answer without what its text form leaves out: the types of a link's two ends."""
    if isinstance(answer, RelationsAnswer):
        ends = (
            (r.type, r.head.start, r.head.end, r.tail.start, r.tail.end) for r in answer.relations
        )
        return sorted(ends)
    return sorted(answer.spans) if isinstance(answer, SpansAnswer) else answer


def _count(answer: Answer | None) -> int:
    match answer:
        case SpansAnswer(spans):
            return len(spans)
        case RelationsAnswer(relations):
            return len(relations)
    return 1
