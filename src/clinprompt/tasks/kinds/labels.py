"""Classify: write, read and score one label of a closed set. Knows nothing of what is classified.

Shared by all kinds that are answered with a label of the card (or the letter of an option).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from clinprompt.errors import DataError, SettingError
from clinprompt.tasks.kinds.baselines import gold_answers, most_frequent
from clinprompt.tasks.kinds.kind import Card, Kind
from clinprompt.tasks.kinds.scores import LabelSet, Metric, Numbers, f1, macro_f1, mean, of_class
from clinprompt.tasks.records import Answer, LabelAnswer, Record, Unparseable, one_line

_NUM_CHANCE_DRAWS = 200


def label_words(card: Card) -> tuple[str, ...]:
    """Return the word of every label in the card's order."""
    return tuple(one_line(word) for word in card.labels.values())


def word_of(card: Card, label: str) -> str:
    """Return the word that the card shows for a label or type.

    Raises:
        DataError: the card does not list the label.
    """
    if label not in card.labels:
        known = ", ".join(card.labels)
        raise DataError(f"{card.name}: labels lack one that the data has; the card lists: {known}")
    return one_line(card.labels[label])


def render_label(card: Card, _record: Record, answer: Answer) -> str:
    """Return the label's word."""
    assert isinstance(answer, LabelAnswer)
    return word_of(card, answer.label)


def parse_label(card: Card, _record: Record, text: str) -> Answer:
    """Read a label: its word alone, or a text that starts with it (longest word first)."""
    said = one_line(text).casefold()
    words = [word.casefold() for word in label_words(card)]
    for word, label in sorted(zip(words, card.labels, strict=True), key=lambda pair: -len(pair[0])):
        if starts_with_word(said, word):
            return LabelAnswer(label)
    return Unparseable(text)


def starts_with_word(text: str, word: str) -> bool:
    """Return whether the text starts with that word and not just with its letters."""
    following = text[len(word) : len(word) + 1]
    return text.startswith(word) and not (following.isalnum() or following in {"-", "_"})


def label_to_json(_record: Record, answer: Answer) -> dict[str, Any]:
    """Return the label as JSON."""
    assert isinstance(answer, LabelAnswer)
    return {"label": answer.label}


def label_in(answer: Answer) -> Collection[str]:
    """Return the label of an answer."""
    return {answer.label} if isinstance(answer, LabelAnswer) else ()


def chance_of_labels(
    card: Card, records: Sequence[Record], _training: Sequence[Answer], generator: Generator
) -> float:
    """Return the expected score of labels drawn uniformly from those of the card."""
    return chance_among(card, records, [tuple(card.labels)] * len(records), generator)


def chance_among(
    card: Card,
    records: Sequence[Record],
    choices: Sequence[Sequence[str]],
    generator: Generator,
) -> float:
    """Return the expected score of labels drawn uniformly, each from the choices of its record.

    It is exact for accuracy, otherwise the mean of 200 draws.

    Raises:
        DataError: a record has no choices.
    """
    if not all(choices):
        raise DataError(f"{card.name}: {sum(not one for one in choices)} rows have no choices")
    if card.metric == ACCURACY.name:
        return float(np.mean([1 / len(options) for options in choices]))
    metric = next(metric for metric in LABEL_METRICS if metric.name == card.metric)
    gold, labels = gold_answers(records), LabelSet(positive=card.positive)
    values = [
        metric.score(_random_labels(choices, generator), gold, labels).value
        for _ in range(_NUM_CHANCE_DRAWS)
    ]
    return float(np.mean(values))


def constant_label(card: Card, training: Sequence[Answer]) -> Answer:
    """Return the most frequent training label.

    Positive F1 is the exception: its constant answer is the positive label that is most frequent
    in training, since any other constant scores 0.

    Raises:
        DataError: there are no training answers.
    """
    answer = most_frequent(training)
    if card.metric != POSITIVE_F1.name:
        return answer
    counts = Counter(one.label for one in training if isinstance(one, LabelAnswer))
    return LabelAnswer(max(card.positive, key=lambda label: counts[label]))


def _random_labels(choices: Sequence[Sequence[str]], generator: Generator) -> list[Answer]:
    picks = generator.random(len(choices))
    return [
        LabelAnswer(options[int(pick * len(options))])
        for options, pick in zip(choices, picks, strict=True)
    ]


def _names(answers: Sequence[Answer]) -> list[str]:
    return [answer.label if answer else "" for answer in of_class(answers, LabelAnswer)]


def _count_right(
    answers: Sequence[Answer], gold: Sequence[Answer], _labels: LabelSet
) -> tuple[str, Numbers]:
    predicted, true = np.array(_names(answers)), np.array(_names(gold))
    correct = np.stack([(predicted == true) & (true != ""), np.ones(len(true))], axis=1)
    return "accuracy", correct.astype(np.float64)


def _count_by_label(
    answers: Sequence[Answer], gold: Sequence[Answer], labels: Sequence[str]
) -> Numbers:
    """Return (correct, predicted, gold) of each row and label, [N, labels, 3]."""
    names = np.array(labels)
    predicted, true = np.array(_names(answers)), np.array(_names(gold))
    is_predicted, is_true = predicted[:, None] == names, true[:, None] == names
    return np.stack([is_predicted & is_true, is_predicted, is_true], axis=2).astype(np.float64)


def _count_all_labels(
    answers: Sequence[Answer], gold: Sequence[Answer], labels: LabelSet
) -> tuple[str, Numbers]:
    names = labels.closed or tuple(sorted(set(_names(gold))))
    counts = _count_by_label(answers, gold, names)
    return "macro-F1, mean over the labels that occur in gold", counts.reshape(len(gold), -1)


def _count_positive_labels(
    answers: Sequence[Answer], gold: Sequence[Answer], labels: LabelSet
) -> tuple[str, Numbers]:
    if not labels.positive:
        raise SettingError("positive_f1 needs the positive labels; name them in the card")
    listed = ", ".join(map(repr, labels.positive))
    is_one = len(labels.positive) == 1
    scorer = f"F1 of the label {listed}" if is_one else f"micro-F1 over {listed}"
    return scorer, _count_by_label(answers, gold, labels.positive).sum(axis=1)


ACCURACY = Metric("accuracy", mean, _count_right, meaning="the share of right labels")
MACRO_F1 = Metric(
    "macro_f1",
    macro_f1,
    _count_all_labels,
    meaning="the mean of the F1 of each label that occurs in the correct answers",
)
POSITIVE_F1 = Metric(
    "positive_f1",
    f1,
    _count_positive_labels,
    needs_positive=True,
    meaning="the F1 of the labels in `positive`; of several, over all of them at once (micro)",
)
LABEL_METRICS = (ACCURACY, MACRO_F1, POSITIVE_F1)


def other_label_score(
    card: Card, answers: Sequence[Answer], gold: Sequence[Answer]
) -> dict[str, float]:
    """Return the accuracy or, where that is the card's metric, the macro-F1."""
    other = MACRO_F1 if card.metric == ACCURACY.name else ACCURACY
    return {other.name: other.score(answers, gold, LabelSet(tuple(card.labels))).value}


CLOSED_LABELS = Kind(
    answer=LabelAnswer,
    render=render_label,
    parse=parse_label,
    to_json=label_to_json,
    choices=lambda card, _: label_words(card),
    labels_in=label_in,
    metrics=LABEL_METRICS,
    extra_scores=other_label_score,
    chance=chance_of_labels,
    constant=constant_label,
)
