"""Turn answers into sums and sums into scores. Knows no cards, kinds or models.

Every score is a function of the sums over rows of a few numbers per row (its *statistics*), so a
resample of the rows is scored by weighted sums: no answer is read twice. Axes: N rows, S sums.

Two conventions hold throughout. 0/0 counts as 0: with no gold item and no predicted item, an F1 is
0, as in scikit-learn's ``zero_division=0``; ``Scores.is_undefined`` tells it from an F1 that is 0
because answers are wrong. Unparseable output is wrong: each of its lines is a
wrong mention or link (see ``Listing.num_invented``), the label is wrong, a text scores 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clinprompt.errors import DataError
from clinprompt.tasks.records import Answer, Unparseable

Numbers = NDArray[np.float64]
Formula = Callable[[Numbers], Numbers]
AnswerT = TypeVar("AnswerT", bound=Answer)


class LabelSet(NamedTuple):
    """The labels of a card: ``closed`` are all of them, ``positive`` those of positive F1."""

    closed: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()


NO_LABELS = LabelSet()
Count = Callable[[Sequence[Answer], Sequence[Answer], LabelSet], tuple[str, Numbers]]


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
    def is_undefined(self) -> bool:
        """Return whether the score is 0/0: neither the answers nor the gold answers have items."""
        return not self.statistics.any()

    @property
    def value(self) -> float:
        """Return the score of all rows, 0 to 1."""
        return float(self.formula(self.statistics.sum(axis=0)))


@dataclass(frozen=True, slots=True)
class Metric:
    """How answers are scored.

    ``count`` returns a description for reports and the statistics [N, S], from answers, gold
    answers and labels. ``needs_positive`` says that the card must name positive labels.
    ``meaning`` says for readers what is counted.
    """

    name: str
    formula: Formula
    count: Count
    needs_positive: bool = False
    meaning: str = ""

    def score(
        self, answers: Sequence[Answer], gold: Sequence[Answer], labels: LabelSet = NO_LABELS
    ) -> Scores:
        """Score predicted answers against gold answers, row by row.

        Raises:
            SettingError: the metric needs positive labels and there are none.
            DataError: the two differ in length or are empty, or an answer is of another kind.
        """
        check_rows(answers, gold)
        scorer, statistics = self.count(answers, gold, labels)
        return Scores(self.name, scorer, statistics, self.formula)


def check_rows(answers: Sequence[Answer], gold: Sequence[Answer]) -> None:
    """Check that there is one answer for each gold answer, and at least one.

    Raises:
        DataError: the numbers differ, or there are none.
    """
    if len(answers) != len(gold):
        raise DataError(f"{len(answers)} answers for {len(gold)} gold rows; give one a row")
    if not gold:
        raise DataError("no rows to score; is the split empty?")


def of_class(answers: Sequence[Answer], kind: type[AnswerT]) -> list[AnswerT | None]:
    """Return the answers, with None for unparseable output.

    Raises:
        DataError: an answer is of another class.
    """
    for row, answer in enumerate(answers):
        if not isinstance(answer, kind | Unparseable):
            raise DataError(
                f"row {row}: the metric needs a {kind.__name__}, not a {type(answer).__name__}; "
                "does the card's metric fit its answer?"
            )
    return [answer if isinstance(answer, kind) else None for answer in answers]


def f1(sums: Numbers) -> Numbers:
    """Return F1 from sums [..., (correct, predicted, gold)]; 0/0 is 0."""
    total = sums[..., 1] + sums[..., 2]
    return np.asarray(2 * sums[..., 0] / np.where(total > 0, total, 1.0))


def mean(sums: Numbers) -> Numbers:
    """Return the mean from sums [..., (earned, rows)]."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1.0))


def macro_f1(sums: Numbers) -> Numbers:
    """Return the mean F1 over labels with gold rows, from sums [..., 3 · labels]."""
    by_label = sums.reshape(*sums.shape[:-1], -1, 3)
    occurs = by_label[..., 2] > 0
    return np.asarray((f1(by_label) * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1))
