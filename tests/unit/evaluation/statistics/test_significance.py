import numpy as np
import pytest

from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.statistics.significance import (
    bootstrap_values,
    confidence_interval,
    detectable_difference,
)
from clinprompt.tasks.records import LabelAnswer, Span, SpansAnswer


def accuracy_scores(is_right):
    answers = [LabelAnswer("a" if right else "b") for right in is_right]
    return score("accuracy", answers, [LabelAnswer("a")] * len(answers))


def test_intervals_cover_the_true_accuracy_about_95_times_in_100():
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        interval = confidence_interval(
            accuracy_scores(generator.random(80) < 0.7), generator, num_draws=600
        )
        covered += interval.low <= 0.7 <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_one_seed_gives_the_same_interval_twice():
    scores = accuracy_scores([True, False, True, True])
    first = confidence_interval(scores, np.random.default_rng(3))
    assert first == confidence_interval(scores, np.random.default_rng(3))


def test_resampled_f1_comes_from_summed_counts_not_from_row_scores():
    gold = [SpansAnswer((Span(0, 1, "x"), Span(2, 3, "x"))), SpansAnswer((Span(0, 1, "x"),))]
    answers = [SpansAnswer((Span(0, 1, "x"),)), SpansAnswer((Span(5, 6, "x"),))]
    values = bootstrap_values(
        score("entity_f1", answers, gold), np.random.default_rng(0), num_draws=200
    )
    # rows (1,1,2) and (0,1,1). Twice the first: 4/6; one of each: 2/5; twice the second: 0.
    assert {round(float(value), 6) for value in values} == {round(4 / 6, 6), 0.4, 0.0}


def test_the_detectable_difference_follows_its_formula():
    scores = accuracy_scores(np.arange(400) % 2 == 0)
    # standard error of a proportion: √(0.5·0.5/400) = 0.025; 1.96·√2·0.025 = 0.0693
    interval = confidence_interval(scores, np.random.default_rng(0), num_draws=20000)
    found = detectable_difference(interval.standard_error)
    assert found == pytest.approx(0.0693, rel=0.03)
