"""Find answers that ignore the text, for the scores that a method must beat. Knows no kinds."""

from collections import Counter
from collections.abc import Sequence

from clinprompt.errors import DataError
from clinprompt.tasks.records import Answer, Record, Unparseable


def gold_answers(records: Sequence[Record]) -> list[Answer]:
    """Return the answers of records, each of which must have one."""
    answers = []
    for record in records:
        assert record.answer is not None, f"record {record.id} has no answer"
        answers.append(record.answer)
    return answers


def readable(training: Sequence[Answer]) -> list[Answer]:
    """Return the training answers that could be read.

    Raises:
        DataError: there is none.
    """
    known: list[Answer] = [answer for answer in training if not isinstance(answer, Unparseable)]
    if not known:
        raise DataError("a majority baseline needs training answers, but none were given")
    return known


def most_frequent(training: Sequence[Answer]) -> Answer:
    """Return the most frequent training answer; of several, the one that comes first.

    Raises:
        DataError: there are no training answers.
    """
    return Counter(readable(training)).most_common(1)[0][0]
