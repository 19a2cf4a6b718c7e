"""Read whole tasks and report what is in them: counts, overlap, what text carries, lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from clinprompt.backbone.load import load_tokenizer
from clinprompt.errors import SettingError
from clinprompt.recipes.suite import examples_of, find_mirror
from clinprompt.tasks.card import SPLITS, catalog, find_card, find_suite
from clinprompt.tasks.example import Answer, Record, RelationsAnswer, SpansAnswer
from clinprompt.tasks.formats import parse_answer, render_answer
from clinprompt.tasks.load import TaskData, load_task
from clinprompt.tasks.overlap import drop_overlapping

LENGTH_ROWS = 200  # training rows whose tokens are counted


def check_tasks(
    names: Sequence[str],
    *,
    suite: str,
    mirror: Path | None,
    backbone: str = "smollm2-135m",
) -> list[dict[str, Any]]:
    """Return one row a task: rows and annotations by split, and what comes of them.

    ``dropped`` counts the rows of a suite's source that share a run of 13 words with a target;
    ``survive`` is the share of gold answers that come back unchanged from their text form;
    ``tokens`` is the median and the 95th percentile of input lengths; ``mismatch`` says where the
    counts are not those of the card.

    Raises:
        SettingError: a task or suite is unknown, or none was named.
        DataError: a file is missing, damaged, or not the one the card describes.
    """
    place = find_mirror(mirror)
    dropped: dict[str, int] = {}
    loaded = [load_task(find_card(name), place) for name in names]
    if suite:
        found = find_suite(suite)
        sources = [load_task(find_card(name), place) for name in found.sources]
        targets = [load_task(find_card(name), place) for name in found.targets]
        _, dropped = drop_overlapping(sources, targets)
        loaded += sources + targets
    if not loaded:
        raise SettingError(f"name a task or a suite to check; tasks: {', '.join(catalog())}")
    tokenizer = load_tokenizer(backbone)
    return [_check(data, dropped.get(data.card.name), tokenizer) for data in loaded]


def _check(
    data: TaskData, dropped: int | None, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    records = [record for split in SPLITS for record in data.splits[split]]
    survive = sum(_survives(data, record) for record in records)
    lengths = _lengths(data, tokenizer)
    return {
        "task": data.card.name,
        "type": data.card.type,
        **{split: len(data.splits[split]) for split in SPLITS},
        "annotations": "/".join(str(_annotations(data.splits[split])) for split in SPLITS),
        "dropped": "" if dropped is None else dropped,
        "survive": round(survive / len(records), 4),
        "tokens": f"{np.percentile(lengths, 50):.0f}/{np.percentile(lengths, 95):.0f}",
        "license": data.card.source.license,
        "mismatch": "; ".join(_mismatches(data)),
    }


def _mismatches(data: TaskData) -> list[str]:
    """Say where a split holds something else than the card states."""
    problems = []
    for split, expected in data.card.counts.items():
        records = data.splits[split]
        found = {"rows": len(records), "annotations": _annotations(records)}
        for name, count in expected.model_dump(exclude_none=True).items():
            if found[name] != count:
                problems.append(f"{split}: {found[name]} {name}, but the card states {count}")
    return problems


def _lengths(data: TaskData, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of some inputs, as training would read them uncut."""
    split = next(split for split in SPLITS if data.splits[split])
    examples = examples_of(data, split, limit=LENGTH_ROWS, seed=0)
    inputs = [example.input for example in examples]
    encoded = tokenizer(inputs, add_special_tokens=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


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


def _annotations(records: Sequence[Record]) -> int:
    return sum(_count(record.answer) for record in records)


def _count(answer: Answer | None) -> int:
    match answer:
        case SpansAnswer(spans):
            return len(spans)
        case RelationsAnswer(relations):
            return len(relations)
    return 1
