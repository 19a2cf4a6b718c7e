import numpy as np
import pytest

from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.statistics.significance import (
    bootstrap_values,
    confidence_interval,
    detectable_difference,
    holm,
    p_value,
    swapped_differences,
)
from clinprompt.tasks.kinds.scores import Scores
from clinprompt.tasks.records import LabelAnswer, Span, SpansAnswer


def accuracy_scores(is_right):
    answers = [LabelAnswer("a" if right else "b") for right in is_right]
    return score("accuracy", answers, [LabelAnswer("a")] * len(answers))


def continuous_scores(values):
    """Return scores without ties: with ties, as accuracy has them, p-values are conservative."""
    statistics = np.stack([values, np.ones(len(values))], axis=1)
    return Scores("mean", "mean", statistics, lambda sums: sums[..., 0] / sums[..., 1])


def permutation_test(first, second, generator, *, num_draws):
    """Return the p-value of a difference between two methods on the same rows."""
    drawn = swapped_differences([([first], [second])], generator, num_draws=num_draws)
    return p_value(second.value - first.value, drawn[0])


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


def test_permutation_p_values_are_uniform_where_methods_are_alike():
    generator = np.random.default_rng(11)
    values = np.array(
        [
            permutation_test(
                continuous_scores(generator.random(60)),
                continuous_scores(generator.random(60)),
                generator,
                num_draws=300,
            )
            for _ in range(400)
        ]
    )
    # The share at or below q has standard error √(q(1 - q)/400), at most 0.025; three of them.
    for share in (0.05, 0.25, 0.5, 0.75):
        error = (share * (1 - share) / 400) ** 0.5
        assert abs(np.mean(values <= share) - share) <= 3 * error


def test_permutation_p_value_is_small_for_a_real_difference():
    generator = np.random.default_rng(5)
    first = accuracy_scores(generator.random(200) < 0.9)
    second = accuracy_scores(generator.random(200) < 0.6)
    assert permutation_test(first, second, generator, num_draws=999) <= 0.002


def test_permutation_p_value_of_two_rows_by_hand():
    # Right-right against wrong-wrong: of 4 swaps, 2 give a difference as large, so p is near 1/2.
    first, second = accuracy_scores([True, True]), accuracy_scores([False, False])
    value = permutation_test(first, second, np.random.default_rng(0), num_draws=20000)
    assert value == pytest.approx(0.5, abs=0.02)


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03 times 3, 2, 1: 0.03, 0.04, then max(0.04, 0.03) = 0.04
    assert holm([0.03, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()
