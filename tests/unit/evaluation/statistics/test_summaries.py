from statistics import fmean

import numpy as np
import pytest
from made_up_cells import answered

from clinprompt.evaluation.statistics.summaries import mean_over_targets, summarize, types_of


def summaries_of(*cells, seed=0, num_draws=2000):
    return summarize(cells, np.random.default_rng(seed), num_draws=num_draws)


def without_statistics(*values, **changes):
    kept = {"statistics": (), "row_digest": ""}
    return [
        answered("lora", [1], value=value, low=low, high=high, seed=seed, **kept, **changes)
        for seed, (value, low, high) in enumerate(values)
    ]


def test_a_summary_is_the_mean_over_seeds_with_their_spread():
    (one,) = summaries_of(answered("lora", [1, 0]), answered("lora", [1, 1], seed=1)).values()
    # scores 0.5 and 1; the deviations of 0.25 give √(2·0.25²/1) = 0.3536
    assert (one.value, one.spread) == pytest.approx((0.75, 0.3536), abs=1e-4)
    assert one.seeds == (0, 1)


def test_one_draw_takes_the_same_rows_for_every_seed():
    # Seeds right on opposite rows: any two rows drawn have 2 right of 4, so every draw is 1/2.
    (one,) = summaries_of(answered("lora", [1, 0]), answered("lora", [0, 1], seed=1)).values()
    assert set(one.draws.tolist()) == {0.5}
    assert (one.low, one.high) == (0.5, 0.5)


def test_methods_share_the_rows_drawn_on_a_target():
    found = summaries_of(answered("lora", [1, 0]), answered("other", [1, 0]))
    first, second = found.values()
    assert (first.draws == second.draws).all()


def test_targets_are_resampled_independently():
    rows = [1, 0] * 50
    found = summaries_of(answered("lora", rows), answered("lora", rows, target="medbullets"))
    first, second = (one.draws for one in found.values())
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    value, low, high = mean_over_targets(found.values())
    # standard error of one target √(0.25/100) = 0.05, of the mean of two 0.05/√2; 1.96 times it
    assert value == 0.5
    assert high - low == pytest.approx(2 * 1.96 * 0.05 / 2**0.5, rel=0.1)


def test_one_seed_keeps_the_interval_stored_with_it():
    (one,) = summaries_of(answered("lora", [1, 0, 1], low=0.25, high=0.875)).values()
    assert (one.low, one.high) == (0.25, 0.875)


def test_results_without_statistics_keep_their_stored_intervals():
    (one,) = summaries_of(*without_statistics((0.5, 0.4, 0.6), (0.7, 0.6, 0.8))).values()
    assert (one.value, one.low, one.high) == pytest.approx((0.6, 0.5, 0.7))
    assert one.draws is None


def test_half_widths_of_targets_without_statistics_add_up_as_squares():
    found = summaries_of(
        *without_statistics((0.5, 0.4, 0.6)),
        *without_statistics((0.7, 0.6, 0.9), target="medbullets"),
    )
    # below: √(0.1² + 0.1²)/2 = 0.0707; above: √(0.1² + 0.2²)/2 = 0.1118
    assert mean_over_targets(found.values()) == pytest.approx(
        (0.6, 0.6 - 0.0707, 0.6 + 0.1118), abs=1e-4
    )


def test_seeds_on_different_rows_are_not_resampled_together():
    cells = answered("lora", [1, 0]), answered("lora", [1, 1], seed=1, row_digest="other")
    (one,) = summaries_of(*cells).values()
    assert one.scores == ()
    assert one.value == 0.75


def test_intervals_of_the_mean_over_seeds_cover_about_95_times_in_100():
    # A row is right with a chance of its own, the same for three seeds; the truth is their mean.
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        chances = generator.beta(2, 2, size=100)
        seeds = [generator.random(100) < chances for _ in range(3)]
        cells = [answered("lora", right, seed=seed) for seed, right in enumerate(seeds)]
        (one,) = summaries_of(*cells, seed=trial, num_draws=400).values()
        covered += one.low <= 0.5 <= one.high
    assert 0.90 <= covered / 200 <= 0.99


def test_types_have_each_target_once():
    found = summaries_of(
        answered("lora", [1]),
        answered("other", [1]),
        answered("lora", [1], target="ncbi", task_type="ner"),
    )
    assert types_of(found.values()) == {"qa": ["headqa"], "ner": ["ncbi"]}


def test_draws_center_on_the_score():
    (one,) = summaries_of(answered("lora", [1, 0] * 40)).values()
    assert fmean(one.draws) == pytest.approx(0.5, abs=0.01)
