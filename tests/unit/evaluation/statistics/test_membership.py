"""The attack on membership against values worked by hand, and in simulated cases."""

from math import log

import numpy as np
import pytest

from clinprompt.evaluation.statistics.membership import (
    attack,
    auc,
    confidence,
    likelihood_ratios,
    true_positive_rate,
)


def values(*numbers):
    return np.array(numbers, dtype=np.float64)


def test_auc_counts_the_pairs_in_which_the_member_is_higher_and_half_of_the_ties():
    # 3 > 2, 3 > 0, 1 < 2, 1 > 0.
    assert auc(values(3, 1), values(2, 0)) == 3 / 4
    # 2 = 2 counts half, 2 > 0, 1 < 2, 1 > 0.
    assert auc(values(2, 1), values(2, 0)) == 2.5 / 4
    assert auc(values(1, 1), values(1, 1, 1)) == 0.5


def test_true_positives_are_above_a_threshold_that_one_of_twenty_others_is_above():
    others = np.arange(20.0)
    # 19 alone is above 18; of the members, 19 and 30 are.
    assert true_positive_rate(values(19, 18, 30, 0), others) == 2 / 4
    # One of nineteen would be more than 5 %, so none may be above.
    assert true_positive_rate(values(19, 18, 17.5, 0), others[:19]) == 1 / 4


def test_confidence_is_the_logit_of_the_probability():
    assert confidence(values(log(2)))[0] == pytest.approx(0.0)
    assert confidence(values(-log(0.9)))[0] == pytest.approx(log(9))
    assert np.isfinite(confidence(values(0.0, 50.0))).all()


def test_the_ratio_compares_two_normal_distributions_of_the_row():
    shadows = values(1, 3, -1, 1, 99)[:, None]
    trained = np.array([True, True, False, False, False])[:, None]
    held = np.array([False, False, False, False, True])[:, None]
    # Trained on: mean 2, variance 2. Never read: mean 0, variance 2. At 2: 0 − (−2² / 4) = 1.
    assert likelihood_ratios(values(2), shadows, trained, held)[0] == pytest.approx(1.0)
    assert likelihood_ratios(values(1), shadows, trained, held)[0] == pytest.approx(0.0)


def test_variances_are_the_same_for_all_rows():
    shadows = np.array([[0.0, 10.0], [2.0, 10.0], [0.0, 9.0], [0.0, 11.0]])
    trained = np.array([[True, True], [True, True], [False, False], [False, False]])
    found = likelihood_ratios(values(1, 10), shadows, trained, np.zeros_like(trained))
    # In: squares 2 of 2 degrees of freedom, 1. Out: squares 2 of 2, 1. Row 0: means 1 and 0;
    # row 1: means 10 and 10.
    assert found == pytest.approx([0.5, 0.0])


def test_shadows_that_are_all_alike_tell_nothing():
    shadows = np.ones((4, 3))
    trained = np.array([[True] * 3, [True] * 3, [False] * 3, [False] * 3])
    found = likelihood_ratios(np.zeros(3), shadows, trained, np.zeros_like(trained))
    assert found.tolist() == [0.0] * 3


def simulated(generator, effect, *, rows=60, num_shadows=16):
    """Return scores of members and others, whose confidence training raises by ``effect``."""
    hardness = 3 * generator.standard_normal(2 * rows)
    trained = np.array([generator.permutation(2 * rows) < rows for _ in range(num_shadows)])
    noise = generator.standard_normal(trained.shape)
    is_member = generator.permutation(2 * rows) < rows
    own = hardness + effect * is_member + generator.standard_normal(2 * rows)
    shadows = hardness + effect * trained + noise
    scores = likelihood_ratios(own, shadows, trained, np.zeros_like(trained))
    return scores[is_member], scores[~is_member]


def test_the_attack_is_nearly_as_good_as_one_that_knows_the_distributions():
    generator = np.random.default_rng(5)
    found = [auc(*simulated(generator, 2.0)) for _ in range(20)]
    # With known means 0 and 2 and variance 1, the AUC is Φ(2 / √2) = 0.921.
    assert 0.85 < np.mean(found) < 0.93


def test_intervals_hold_one_half_about_95_times_in_100_if_training_leaves_no_trace():
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        found = attack(*simulated(generator, 0.0), generator, num_draws=300)
        held += found.auc.holds(0.5)
    assert 89 <= held <= 100


def test_intervals_cover_the_true_auc_about_95_times_in_100():
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(100):
        members, others = generator.normal(1, 1, 60), generator.normal(0, 1, 60)
        # Φ(1 / √2) = 0.7602
        covered += attack(members, others, generator, num_draws=300).auc.holds(0.7602)
    assert 89 <= covered <= 100


def test_one_seed_gives_the_same_result_twice():
    members, others = values(1, 2, 4, 8), values(0, 1, 3, 5)
    first = attack(members, others, np.random.default_rng(0))
    assert first == attack(members, others, np.random.default_rng(0))
    assert first.auc.low <= first.auc.value <= first.auc.high
