import numpy as np
import pytest

from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.statistics.significance import (
    bootstrap_values,
    confidence_interval,
    detectable_difference,
    interval_of_few,
    wilson_interval,
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


def test_the_wilson_interval_has_a_width_even_if_all_rows_are_right():
    # 5 of 5, z = 1.96: middle (5 + 1.9208) / (5 + 3.8416) = 0.78275, half the width
    # 1.96 * sqrt(0 + 0.9604) / 8.8416 = 0.21724.
    assert wilson_interval(5, 5) == pytest.approx((0.56551, 1.0), abs=1e-5)
    assert wilson_interval(0, 5) == pytest.approx((0.0, 0.43449), abs=1e-5)
    # 8 of 10: (8 + 1.9208) / 13.8416 = 0.71674; 1.96 * sqrt(1.6 + 0.9604) / 13.8416 = 0.22658.
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)


def test_wilson_intervals_cover_the_true_accuracy_of_few_rows():
    generator, covered = np.random.default_rng(5), 0
    for _ in range(1000):
        scores = accuracy_scores(generator.random(12) < 0.9)
        low, high = interval_of_few(scores, generator)
        covered += low <= 0.9 <= high
    assert covered / 1000 >= 0.93


def entity_scores(is_found):
    one = SpansAnswer((Span(0, 1, "x"),))
    answers = [one if found else SpansAnswer(()) for found in is_found]
    return score("entity_f1", answers, [one] * len(answers))


def test_an_f1_of_few_or_equal_rows_has_no_interval():
    generator = np.random.default_rng(0)
    assert interval_of_few(entity_scores([True, False, True, False]), generator) is None
    assert interval_of_few(entity_scores([True] * 9), generator) is None
    scores = entity_scores([True, False, True, False, True])
    low, high = interval_of_few(scores, np.random.default_rng(0))
    usual = confidence_interval(scores, np.random.default_rng(0))
    assert (low, high) == (usual.low, usual.high)
    assert low < scores.value < high


def test_an_f1_of_nothing_is_told_from_one_that_is_wrong():
    nothing, one = SpansAnswer(()), SpansAnswer((Span(0, 1, "x"),))
    empty = score("entity_f1", [nothing, nothing], [nothing, nothing])
    assert (empty.is_undefined, empty.value) == (True, 0)
    wrong = score("entity_f1", [one, nothing], [nothing, nothing])
    assert (wrong.is_undefined, wrong.value) == (False, 0)
    assert not accuracy_scores([False]).is_undefined
