"""Find source records that share text with target records. Knows nothing of cards or wording.

Two records overlap if they have ``n`` consecutive words in common; words consist of letters and
digits, in lower case. A source record that overlaps could show a model text that it is tested on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData, without
from clinprompt.tasks.records import Record, TextAnswer

_WORD = re.compile(r"[^\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a value is lost


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
    seen, _ = _grams([text for target in targets for text in _joined(target)], n, numbers)
    seen.sort()
    kept, num_dropped = [], {}
    for source in sources:
        texts = [(record.id, text) for record in _records(source) for text in _texts(record)]
        grams, places = _grams([text for _, text in texts], n, numbers)
        is_seen = seen.searchsorted(grams, "left") < seen.searchsorted(grams, "right")
        dropped = frozenset(texts[place][0] for place in np.unique(places[is_seen]))
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


def _records(task: TaskData) -> Iterator[Record]:
    return chain.from_iterable(task.splits.values())


def _joined(task: TaskData) -> Iterator[str]:
    """Yield the texts of a task; those of a task with mentions as one text per split."""
    for records in task.splits.values():
        if kind_of(task.card).is_often_sentences:
            yield "\n".join(record.text for record in records)
        else:
            for record in records:
                yield from _texts(record)


def _grams(
    texts: Sequence[str], n: int, numbers: dict[str, int]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return a hash of every n consecutive words of a text, and the place of the text in ``texts``.

    ``numbers`` are the numbers of all words so far; new words are added. Each has a random value of
    64 bits, the same in every process, and a hash is a polynomial of such values.
    """
    words = [
        [numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower())]
        for text in texts
    ]
    values = np.random.default_rng(0).integers(1 << 64, size=len(numbers), dtype=np.uint64)
    sequence = values[np.fromiter(chain.from_iterable(words), np.intp)]
    places = np.repeat(np.arange(len(texts)), [len(own) for own in words])
    count = max(0, len(sequence) - n + 1)
    hashes = np.zeros(count, np.uint64)
    for offset in range(n):
        hashes = hashes * _FACTOR + sequence[offset : offset + count]
    is_in_one_text = places[:count] == places[n - 1 :]
    return hashes[is_in_one_text], places[:count][is_in_one_text]


def _texts(record: Record) -> Iterator[str]:
    yield from record.fields.values()
    yield from record.options
    if isinstance(record.answer, TextAnswer):
        yield record.answer.text
