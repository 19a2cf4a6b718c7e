"""Find source records that share text with target records. Knows nothing of cards or wording.

Two records overlap if they have ``n`` consecutive words in common; words consist of letters and
digits, in lower case. A source record that overlaps could show a model text that it is tested on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData, without
from clinprompt.tasks.records import Record, TextAnswer

_WORD = re.compile(r"[^\W_]+")


def drop_overlapping(
    sources: Sequence[TaskData], targets: Sequence[TaskData], n: int = 13
) -> tuple[tuple[TaskData, ...], dict[str, int]]:
    """Return the sources without the records that overlap any target record of any split.

    Fields, options and text answers are compared. The texts of a target with mentions are joined,
    because they may be consecutive sentences of a note. Also returns the number of dropped records
    by task name.
    """
    assert n > 0
    numbers: dict[str, int] = {}
    seen = {
        gram for target in targets for text in _joined(target) for gram in _grams(text, n, numbers)
    }
    kept, num_dropped = [], {}
    for source in sources:
        dropped = frozenset(
            record.id
            for record in _records([source])
            if any(gram in seen for text in _texts(record) for gram in _grams(text, n, numbers))
        )
        kept.append(without(source, dropped) if dropped else source)
        num_dropped[source.card.name] = len(dropped)
    return tuple(kept), num_dropped


def drop_copies_of_test(data: TaskData) -> tuple[TaskData, int]:
    """Return a task without the training records whose text equals that of a test record.

    Answers, case, punctuation and whitespace do not count. Also returns the number of dropped
    records.
    """
    tested = {_question(record) for record in data.splits["test"]}
    copies = frozenset(r.id for r in data.splits["train"] if _question(r) in tested)
    if not copies:
        return data, 0
    return replace(without(data, copies), copies=data.copies + len(copies)), len(copies)


def _question(record: Record) -> tuple[tuple[str, ...], ...]:
    texts = (*record.fields.values(), *record.options)
    return tuple(tuple(_WORD.findall(text.lower())) for text in texts)


def _records(tasks: Sequence[TaskData]) -> Iterator[Record]:
    for task in tasks:
        for records in task.splits.values():
            yield from records


def _joined(task: TaskData) -> Iterator[str]:
    """Yield the texts of a task; those of a task with mentions as one text per split."""
    for records in task.splits.values():
        if kind_of(task.card).is_often_sentences:
            yield "\n".join(record.text for record in records)
        else:
            for record in records:
                yield from _texts(record)


def _grams(text: str, n: int, numbers: dict[str, int]) -> Iterator[int]:
    """Yield a hash of every n consecutive words.

    The hash is of the words' numbers, because Python's hashes of texts differ between processes.
    """
    words = [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower())]
    for start in range(len(words) - n + 1):
        yield hash(tuple(words[start : start + n]))


def _texts(record: Record) -> Iterator[str]:
    yield from record.fields.values()
    yield from record.options
    if isinstance(record.answer, TextAnswer):
        yield record.answer.text
