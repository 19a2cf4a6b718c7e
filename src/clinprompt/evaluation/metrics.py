"""Score answers against gold answers by the name of a metric. Knows nothing of models or files.

Each metric is defined with the kind of task that it scores, in ``tasks/kinds``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from clinprompt.errors import DataError
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import Kind, kind_of
from clinprompt.tasks.kinds.baselines import gold_answers
from clinprompt.tasks.kinds.scores import LabelSet, Scores
from clinprompt.tasks.kinds.table import metric_named
from clinprompt.tasks.records import Answer, Record, Unparseable


@dataclass(frozen=True, slots=True)
class UnusableShares:
    """Shares of rows that no rule could read, and of mentions or links not found in their text."""

    unparseable: float
    ungrounded: float


def score(
    metric: str,
    answers: Sequence[Answer],
    gold: Sequence[Answer],
    *,
    labels: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
) -> Scores:
    """Score predicted answers against gold answers, row by row.

    ``labels`` bounds macro-F1 to a closed set (empty: every gold label); ``positive`` are the
    labels of positive F1, which is the micro-F1 over them.

    Raises:
        SettingError: the metric is not known, or positive F1 has no positive label.
        DataError: the two lists differ in length or are empty, or an answer is of another kind.
    """
    return metric_named(metric).score(answers, gold, LabelSet(labels, positive))


def unusable_shares(kind: Kind, answers: Sequence[Answer]) -> UnusableShares:
    """Return the shares of answers that could not be read, and of annotations not in their text.

    Raises:
        DataError: there is no answer.
    """
    if not answers:
        raise DataError("no answers to count; give at least one row")
    lost = found = 0
    if kind.listing is not None:
        lost = sum(map(kind.listing.num_ungrounded, answers))
        found = sum(len(kind.listing.items(answer)) for answer in answers)
    unread = sum(isinstance(answer, Unparseable) for answer in answers)
    return UnusableShares(unread / len(answers), lost / max(lost + found, 1))


def stored_scores(metric: str, scorer: str, statistics: Sequence[Sequence[float]]) -> Scores:
    """Return scores from statistics [N, S] that were stored.

    Raises:
        SettingError: the metric is not known.
    """
    rows = np.array(statistics, dtype=np.float64)
    return Scores(metric, scorer, rows, metric_named(metric).formula)


def chance(
    card: TaskCard, records: Sequence[Record], training: Sequence[Answer], generator: Generator
) -> float:
    """Return the expected score of answers that ignore the text.

    Labels: uniform over those that the record allows. Mentions and links: none, which scores 0.
    Text: another answer drawn from ``training``.

    Raises:
        DataError: a record has no labels to choose from, or a text metric no training answers.
    """
    return kind_of(card).chance(card, records, training, generator)


def majority(card: TaskCard, records: Sequence[Record], training: Sequence[Answer]) -> float:
    """Return the score of the most frequent training answer, given for every record.

    Raises:
        DataError: there are no training answers or no records.
    """
    answer = kind_of(card).constant(card, training)
    gold = gold_answers(records)
    return score(card.metric, [answer] * len(gold), gold, positive=card.positive).value
