"""The probability of a line is the product of its tokens and of the one that ends it."""

from math import log

import pytest

from clinprompt.backbone.scheduler import Written
from clinprompt.evaluation.confidence import line_probabilities, option_probabilities


def written(*probabilities, end=1.0):
    return Written([0] * len(probabilities), [log(p) for p in probabilities], log(end))


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (("a", "b", "c"), (0.5 * 0.8 * 0.4 * 0.9,)),
        (("a", "\n", "c"), (0.5 * 0.8, 0.4 * 0.9)),
        (("a\n", "b\n", "c"), (0.5, 0.8, 0.4 * 0.9)),
        (("a", "b\nb", "c"), (0.5 * 0.8, 0.8 * 0.4 * 0.9)),  # b is a part of both lines
        (("a", "\n\n", "c"), (0.5 * 0.8, 0.8, 0.4 * 0.9)),  # with a blank line between
        (("a", "b", "\n"), (0.5 * 0.8 * 0.4, 0.9)),
    ],
)
def test_a_line_has_the_product_of_its_tokens_and_of_its_end(pieces, lines):
    assert line_probabilities(written(0.5, 0.8, 0.4, end=0.9), pieces) == pytest.approx(lines)


def test_an_answer_without_tokens_is_as_likely_as_its_end():
    assert line_probabilities(written(end=0.25), ()) == pytest.approx((0.25,))


def test_options_share_one():
    """The likelihoods 0.02 and 0.06 are shares of 1/4 and 3/4, however small they are."""
    assert option_probabilities([log(0.02), log(0.06)]) == pytest.approx((0.25, 0.75))
    assert option_probabilities([-5000.0, -5000.0 + log(3)]) == pytest.approx((0.25, 0.75))
