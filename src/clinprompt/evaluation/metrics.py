"""Score answers against gold answers. Knows nothing of models, cards or files.

Every metric here is a function of the sums over rows of a few numbers a row (its *statistics*), so
a resample of the rows is scored by weighted sums: no answer is read twice. Axes: N rows, S sums.

Two conventions hold throughout. 0/0 counts as 0: with no gold item and no predicted item, an F1 is
0, as in scikit-learn's ``zero_division=0``. Unparseable output predicts nothing: no spans, no
relations, the wrong label; a text scores 0.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.tasks.records import (
    Answer,
    LabelAnswer,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

Numbers = NDArray[np.float64]
Formula = Callable[[Numbers], Numbers]
AnswerT = TypeVar("AnswerT", LabelAnswer, SpansAnswer, RelationsAnswer, TextAnswer)

ENTITY_SCORER = "entity F1, strict, micro, multiset of (start, end, type)"
RELATION_SCORER = "relation F1, strict, micro, multiset of (type, head start-end, tail start-end)"
ACCURACY_SCORER = "accuracy"
MACRO_SCORER = "macro-F1, mean over the labels that occur in gold"
ROUGE_SCORER = "ROUGE-L F (rouge-score, rougeL, stemmer on, whitespace-joined single line)"
TOKEN_SCORER = "SQuAD token F1 (case, punctuation and a/an/the dropped; two empty answers agree)"
EXACT_SCORER = "exact match (case, punctuation and a/an/the dropped)"
PARTIAL_SCORER = "entity F1, partial boundaries, type ignored (nervaluate 1.2, partial)"

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What one method earned on N rows: statistics [N, S] and a formula from sums to values."""

    metric: str
    scorer: str
    statistics: Numbers
    formula: Formula

    @property
    def num_rows(self) -> int:
        """Return N."""
        return len(self.statistics)

    @property
    def value(self) -> float:
        """Return the score of all rows, 0 to 1."""
        return float(self.formula(self.statistics.sum(axis=0)))

    def value_of(self, rows: NDArray[np.intp]) -> float:
        """Return the score of the given row numbers; a row named twice counts twice."""
        return float(self.formula(self.statistics[rows].sum(axis=0)))


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of rows that no rule could read, and of mentions or links not found in their text."""

    num_rows: int
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
    _check_rows(answers, gold)
    if metric == "entity_f1":
        return _items_scores(metric, ENTITY_SCORER, _entities(answers), _entities(gold))
    if metric == "relation_f1":
        return _items_scores(metric, RELATION_SCORER, _relations(answers), _relations(gold))
    if metric in _TEXT_METRICS:
        return _text_scores(metric, answers, gold)
    if metric in _LABEL_METRICS:
        return _label_scores(metric, answers, gold, labels, positive)
    known = ("entity_f1", "relation_f1", *_TEXT_METRICS, *_LABEL_METRICS)
    raise SettingError(f"unknown metric {metric!r}: {did_you_mean(metric, known)}")


def rates(answers: Sequence[Answer]) -> Rates:
    """Count what could not be read or found.

    Raises:
        DataError: there is no answer.
    """
    if not answers:
        raise DataError("no answers to count; give at least one row")
    lost = found = 0
    for answer in answers:
        if isinstance(answer, SpansAnswer | RelationsAnswer):
            lost += answer.ungrounded
            found += len(answer.spans if isinstance(answer, SpansAnswer) else answer.relations)
    unread = sum(isinstance(answer, Unparseable) for answer in answers)
    return Rates(len(answers), unread / len(answers), lost / max(lost + found, 1))


def stored_scores(metric: str, scorer: str, statistics: Sequence[Sequence[float]]) -> Scores:
    """Return scores from statistics [N, S] that were kept of them.

    Raises:
        DataError: there are none.
    """
    if not statistics:
        raise DataError(f"no statistics of {metric} were kept; compute the cell again")
    formula = _f1 if metric in _F1_METRICS else _macro_f1 if metric == "macro_f1" else _mean
    return Scores(metric, scorer, np.array(statistics, dtype=np.float64), formula)


def partial_entity_f1(
    answers: Sequence[Answer], gold: Sequence[Answer], types: Sequence[str]
) -> float:
    """Return nervaluate's partial F1: an overlap earns half, types are not compared.

    nervaluate drops mentions of types that it was not told of; here a predicted type outside
    ``types`` is spurious.

    Raises:
        DataError: the lists differ in length or are empty, an answer is of another kind, or gold
            has an unknown type.
    """
    from nervaluate.evaluator import Evaluator  # noqa: PLC0415 - slow to import

    _check_rows(answers, gold)
    predicted, true = _spans(answers), _spans(gold)
    unknown = {span.type for row in true for span in row} - set(types)
    if unknown:
        raise DataError(f"gold has types {sorted(unknown)} that are none of {sorted(types)}")
    num_outside = sum(span.type not in types for row in predicted for span in row)
    inside = [[span for span in row if span.type in types] for row in predicted]
    evaluator = Evaluator(_dicts(true), _dicts(inside), tags=list(types), loader="dict")
    counts = evaluator.evaluate()["overall"]["partial"]
    earned = counts.correct + 0.5 * counts.partial
    return float(_f1(np.array([earned, counts.actual + num_outside, counts.possible])))


def normalize_answer(text: str) -> str:
    """Return text as SQuAD compares it: lower case, no punctuation, no articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(text: str, gold: str) -> float:
    """Return the F1 of the multisets of normalized tokens; two empty answers agree, as in SQuAD."""
    predicted, true = normalize_answer(text).split(), normalize_answer(gold).split()
    if not predicted or not true:
        return float(predicted == true)
    overlap = (Counter(predicted) & Counter(true)).total()
    return 2 * overlap / (len(predicted) + len(true))


def exact_match(text: str, gold: str) -> float:
    """Return 1 where both texts are the same once normalized, else 0."""
    return float(normalize_answer(text) == normalize_answer(gold))


def rouge_l(text: str, gold: str) -> float:
    """Return ROUGE-L F of two texts, each read as one line."""
    return float(_rouge()(" ".join(gold.split()), " ".join(text.split()))["rougeL"].fmeasure)


_TEXT_METRICS: dict[str, tuple[str, Callable[[str, str], float]]] = {
    "rouge_l": (ROUGE_SCORER, rouge_l),
    "token_f1": (TOKEN_SCORER, token_f1),
    "exact_match": (EXACT_SCORER, exact_match),
}
_LABEL_METRICS = ("accuracy", "macro_f1", "positive_f1")
_F1_METRICS = ("entity_f1", "relation_f1", "positive_f1")


@cache
def _rouge() -> Callable[[str, str], Mapping[str, Any]]:
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - takes a second to import

    compare: Callable[[str, str], Mapping[str, Any]]
    compare = RougeScorer(["rougeL"], use_stemmer=True).score
    return compare


def _check_rows(answers: Sequence[Answer], gold: Sequence[Answer]) -> None:
    if len(answers) != len(gold):
        raise DataError(f"{len(answers)} answers for {len(gold)} gold rows; give one a row")
    if not gold:
        raise DataError("no rows to score; is the split empty?")


def _of_kind(answers: Sequence[Answer], kind: type[AnswerT]) -> list[AnswerT | None]:
    """Return the answers with None where the output was unparseable; refuse any other kind."""
    for row, answer in enumerate(answers):
        if not isinstance(answer, kind | Unparseable):
            raise DataError(
                f"row {row}: the metric needs a {kind.__name__}, not a {type(answer).__name__}; "
                "does the card's metric fit its answer?"
            )
    return [answer if isinstance(answer, kind) else None for answer in answers]


def _spans(answers: Sequence[Answer]) -> list[tuple[Span, ...]]:
    return [answer.spans if answer else () for answer in _of_kind(answers, SpansAnswer)]


def _dicts(rows: Sequence[Sequence[Span]]) -> list[list[dict[str, object]]]:
    """Return spans as nervaluate reads them: inclusive ends, in text order."""
    return [
        [{"label": span.type, "start": span.start, "end": span.end - 1} for span in sorted(row)]
        for row in rows
    ]


def _entities(answers: Sequence[Answer]) -> list[list[Hashable]]:
    return [[(span.start, span.end, span.type) for span in row] for row in _spans(answers)]


def _relations(answers: Sequence[Answer]) -> list[list[Hashable]]:
    return [
        [
            (link.type, link.head.start, link.head.end, link.tail.start, link.tail.end)
            for link in (answer.relations if answer else ())
        ]
        for answer in _of_kind(answers, RelationsAnswer)
    ]


def _items_scores(
    metric: str, scorer: str, predicted: list[list[Hashable]], gold: list[list[Hashable]]
) -> Scores:
    rows = [
        ((Counter(items) & Counter(true)).total(), len(items), len(true))
        for items, true in zip(predicted, gold, strict=True)
    ]
    return Scores(metric, scorer, np.array(rows, dtype=np.float64), _f1)


def _text_scores(metric: str, answers: Sequence[Answer], gold: Sequence[Answer]) -> Scores:
    scorer, compare = _TEXT_METRICS[metric]
    pairs = zip(_of_kind(answers, TextAnswer), _of_kind(gold, TextAnswer), strict=True)
    rows = [
        (compare(answer.text, true.text) if answer and true else 0.0, 1) for answer, true in pairs
    ]
    return Scores(metric, scorer, np.array(rows, dtype=np.float64), _mean)


def _label_scores(
    metric: str,
    answers: Sequence[Answer],
    gold: Sequence[Answer],
    labels: tuple[str, ...],
    positive: tuple[str, ...],
) -> Scores:
    predicted = np.array(
        [answer.label if answer else "" for answer in _of_kind(answers, LabelAnswer)]
    )
    true = np.array([answer.label if answer else "" for answer in _of_kind(gold, LabelAnswer)])
    if metric == "accuracy":
        correct = np.stack([(predicted == true) & (true != ""), np.ones(len(true))], axis=1)
        return Scores(metric, ACCURACY_SCORER, correct.astype(np.float64), _mean)
    if metric == "positive_f1" and not positive:
        raise SettingError("positive_f1 needs the positive labels; name them in the card")
    counted = labels or tuple(sorted(set(true.tolist())))
    names = np.array(positive if metric == "positive_f1" else counted)
    is_predicted, is_true = predicted[:, None] == names, true[:, None] == names
    counts = np.stack([is_predicted & is_true, is_predicted, is_true], axis=2).astype(np.float64)
    if metric == "macro_f1":
        return Scores(metric, MACRO_SCORER, counts.reshape(len(true), -1), _macro_f1)
    listed = ", ".join(map(repr, positive))
    scorer = f"F1 of the label {listed}" if len(positive) == 1 else f"micro-F1 over {listed}"
    return Scores(metric, scorer, counts.sum(axis=1), _f1)


def _f1(sums: Numbers) -> Numbers:
    """Return F1 from sums [..., (correct, predicted, gold)]; 0/0 is 0."""
    total = sums[..., 1] + sums[..., 2]
    return np.asarray(2 * sums[..., 0] / np.where(total > 0, total, 1.0))


def _mean(sums: Numbers) -> Numbers:
    """Return the mean from sums [..., (earned, rows)]."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1.0))


def _macro_f1(sums: Numbers) -> Numbers:
    """Return the mean F1 over labels with gold rows, from sums [..., 3 · labels]."""
    by_label = sums.reshape(*sums.shape[:-1], -1, 3)
    occurs = by_label[..., 2] > 0
    return np.asarray((_f1(by_label) * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1))
