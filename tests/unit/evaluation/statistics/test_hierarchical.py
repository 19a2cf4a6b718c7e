import numpy as np
import pytest

from clinprompt.evaluation.statistics.hierarchical import interval_over_seeds, over_seeds

NUM_RESAMPLES = 1000


def interval(seeds, generator, *, rows=0.0):
    """Return the interval of made-up seeds [S], whose rows spread the mean by this deviation."""
    luck = generator.normal(0, rows, size=(NUM_RESAMPLES, 1))
    return interval_over_seeds(*over_seeds(seeds + luck, generator), len(seeds))


def test_what_seeds_add_has_the_variance_of_their_mean():
    """Seeds 0, 0.3 and 0.6 have the variance 0.09 with S - 1, so that of their mean is 0.03."""
    seeds = np.tile([0.0, 0.3, 0.6], (100_000, 1))
    mean, added = over_seeds(seeds, np.random.default_rng(0))
    assert mean == pytest.approx(0.3)
    assert added.var() == pytest.approx(0.03, rel=0.02)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_intervals_cover_where_only_seeds_differ(num_seeds):
    generator = np.random.default_rng(num_seeds)
    covered = []
    for _ in range(400):
        low, high = interval(generator.normal(0.1, 0.05, size=num_seeds), generator)
        covered.append(low <= 0.1 <= high)
    # The standard error of a coverage of 95 % in 400 trials is 0.011; three of them.
    assert 0.915 <= np.mean(covered) <= 0.985


@pytest.mark.parametrize("seeds", [[0.2], [0.2, 0.2, 0.2]])
def test_where_rows_alone_differ_the_interval_is_that_of_the_rows(seeds):
    low, high = interval(np.asarray(seeds), np.random.default_rng(0), rows=0.1)
    assert (low, high) == pytest.approx((0.2 - 1.96 * 0.1, 0.2 + 1.96 * 0.1), abs=0.03)


def test_two_seeds_that_differ_alone_tell_next_to_nothing():
    """The deviation of their mean is 0.1; Student's point with one degree of freedom is 12.7."""
    low, high = interval(np.asarray([0.2, 0.4]), np.random.default_rng(0))
    assert high - low > 1.5
