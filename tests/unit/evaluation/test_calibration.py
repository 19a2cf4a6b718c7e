"""A calibration takes away what a model prefers on any input, and nothing else."""

from math import log

import pytest

from clinprompt.evaluation.calibration import Calibration, calibration_of, offset_of
from clinprompt.evaluation.confidence import option_probabilities


def test_the_mean_is_over_log_probabilities_among_the_labels():
    """The likelihoods 0.2 and 0.6 are 1/4 and 3/4, 0.03 and 0.03 are 1/2 and 1/2."""
    rows = [[log(0.2), log(0.6)], [log(0.03), log(0.03)]]
    means = calibration_of(("yes", "no"), rows).means
    assert means["yes"] == pytest.approx((log(1 / 4) + log(1 / 2)) / 2)
    assert means["no"] == pytest.approx((log(3 / 4) + log(1 / 2)) / 2)


def test_a_label_that_is_always_likely_must_be_likelier_than_usual():
    """0.6 for "no" is less than its usual 0.8, and 0.4 is twice the usual 0.2: 2 / (2 + 3/4)."""
    calibration = Calibration({"yes": log(0.2), "no": log(0.8)})
    corrected = calibration.corrected(("yes", "no"), [log(0.4), log(0.6)])
    assert option_probabilities(corrected) == pytest.approx((2 / 2.75, 0.75 / 2.75))
    # Choices in another order are the same choices:
    assert calibration.corrected(("no", "yes"), [log(0.6), log(0.4)]) == corrected[::-1]


def test_choices_of_another_task_keep_their_scores():
    assert Calibration({"yes": -1.0}).corrected(("yes", "no"), [-2.0, -3.0]) == (-2.0, -3.0)


def test_a_label_without_any_probability_has_a_finite_mean():
    assert -100 < calibration_of(("yes", "no"), [[-5000.0, 0.0]]).means["yes"] < -50


def test_an_offset_lets_the_stated_share_of_inputs_list_nothing():
    margins = [0.5, -1.0, 3.0, 2.0]
    assert offset_of(margins) == pytest.approx(1.125)  # the mean
    for share, number in {0.0: 0, 0.25: 1, 0.5: 2, 0.75: 3, 1.0: 4}.items():
        offset = offset_of(margins, share=share)
        assert sum(margin > offset for margin in margins) == number
    assert offset_of(margins, share=0.5) == pytest.approx(1.25)  # halfway between 0.5 and 2.0
