import numpy as np
import pytest
from made_up_cells import answered

from clinprompt.evaluation.statistics.paired import (
    MEAN,
    ablated,
    common_targets,
    compare,
    mean_ranks,
    record,
)
from clinprompt.evaluation.statistics.summaries import at_shots, summarize

RIGHT, WRONG = [1] * 12, [0] * 12


def grid_of(*cells):
    return at_shots(summarize(cells, np.random.default_rng(0), num_draws=400), 16)


def held(*cells, methods=("other",), num_draws=2000, **options):
    generator = np.random.default_rng(1)
    return compare(grid_of(*cells), methods, "lora", generator, num_draws=num_draws, **options)


def test_two_rows_by_hand():
    comparison = held(answered("lora", [0, 0]), answered("other", [1, 1]), num_draws=20_000)
    one = comparison.differences["other", "headqa"]
    # Of the 4 ways to swap two rows, none and both give a difference of 1: p = 1/2.
    assert one.value == 1.0
    assert one.p_value == pytest.approx(0.5, abs=0.02)
    # Both rows differ alike, so no resample of them gives another difference.
    assert (one.low, one.high) == (1.0, 1.0)


def test_all_seeds_of_a_row_are_swapped_together():
    cells = [answered("lora", [0, 0], seed=seed) for seed in (0, 1)]
    cells += [answered("other", [1, 1], seed=seed) for seed in (0, 1)]
    # Still 4 ways for two rows of two seeds: swapped seed by seed there would be 16, and p = 1/8.
    one = held(*cells, num_draws=20_000).differences["other", "headqa"]
    assert one.p_value == pytest.approx(0.5, abs=0.02)


def test_the_mean_is_tested_with_rows_swapped_within_each_target():
    cells = [answered("lora", [0, 0]), answered("other", [1, 1])]
    cells += [answered("lora", [0], target="ncbi"), answered("other", [1], target="ncbi")]
    comparison = held(*cells, num_draws=20_000)
    # Differences: headqa 1, 0, 0, -1; ncbi 1, -1. Their mean is 1 in 1 of 8 ways, and -1 in 1: 1/4.
    assert comparison.differences["other", MEAN].p_value == pytest.approx(0.25, abs=0.02)
    assert comparison.differences["other", MEAN].value == 1.0


def test_means_are_corrected_among_themselves_and_single_targets_too():
    cells = [answered("lora", WRONG), answered("other", RIGHT), answered("same", WRONG)]
    comparison = held(*cells, methods=("other", "same"))
    found = comparison.differences
    # Two tests each: the target's, and the mean's, which over one target has the same p.
    # Holm: the smaller times 2; the larger, 1, as it is.
    smallest = min(one.p_value for one in found.values())
    assert found["other", "headqa"].corrected == pytest.approx(2 * smallest)
    assert found["other", MEAN].corrected == pytest.approx(2 * smallest)
    assert found["same", "headqa"].corrected == found["same", MEAN].corrected == 1.0


def test_only_means_are_corrected_for_if_only_means_are_shown():
    comparison = held(answered("lora", WRONG), answered("other", RIGHT), each_target=False)
    assert set(comparison.differences) == {("other", MEAN)}
    one = comparison.differences["other", MEAN]
    assert one.corrected == one.p_value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"row_digest": "other rows"}, "different test rows"),
        ({"seed": 1}, "different seeds"),
        ({"statistics": ()}, "no statistics by row"),
        ({"metric": "macro_f1", "statistics": ((1.0, 1.0, 1.0),) * 12}, "a different metric"),
        ({"target": "ncbi"}, "no result"),
    ],
)
def test_what_cannot_be_paired_is_left_out_and_named(changes, reason):
    comparison = held(answered("lora", RIGHT), answered("other", WRONG, **changes))
    assert comparison.differences == {}
    assert comparison.left_out["other", "headqa"] == reason
    assert ("other", MEAN) in comparison.left_out


def test_means_are_over_the_targets_that_all_methods_have():
    cells = [answered("lora", [0] * 4), answered("other", [1] * 4), answered("third", [0] * 4)]
    cells += [answered("lora", [1] * 4, target="ncbi"), answered("other", [0] * 4, target="ncbi")]
    comparison = held(*cells, methods=("other", "third"))
    assert comparison.targets == ("headqa",)
    assert comparison.num_targets == 2
    assert comparison.differences["other", MEAN].value == 1.0
    assert comparison.differences["other", "ncbi"].value == -1.0


def test_p_values_of_seed_means_are_uniform_where_methods_are_alike():
    generator = np.random.default_rng(11)
    values = []
    for _ in range(300):
        earned = generator.random((2, 2, 40))  # methods, seeds, rows: no ties
        cells = [
            answered(name, [0] * 40, seed=seed, value=float(rows.mean())).model_copy(
                update={"statistics": tuple((float(row), 1.0) for row in rows)}
            )
            for name, seeds in zip(("lora", "other"), earned, strict=True)
            for seed, rows in enumerate(seeds)
        ]
        comparison = compare(grid_of(*cells), ["other"], "lora", generator, num_draws=200)
        values.append(comparison.differences["other", "headqa"].p_value)
    # The share at or below q has standard error √(q(1 - q)/300); three of them.
    for share in (0.05, 0.25, 0.5, 0.75):
        error = (share * (1 - share) / 300) ** 0.5
        assert abs(np.mean(np.array(values) <= share) - share) <= 3 * error


def test_paired_intervals_of_the_mean_difference_cover_about_95_times_in_100():
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(150):
        cells = []
        for target in ("headqa", "ncbi"):
            luck = generator.random(80)  # rows are easy or hard for both methods
            cells.append(answered("lora", luck < 0.5, target=target))
            cells.append(answered("other", luck < 0.6, target=target))
        found = held(*cells, num_draws=50).differences["other", MEAN]
        covered += found.low <= 0.1 <= found.high
    assert 0.88 <= covered / 150 <= 0.99


def test_equal_scores_share_their_mean_rank():
    cells = [answered("lora", [1, 1]), answered("other", [1, 1]), answered("third", [0, 1])]
    cells += [answered("lora", [0, 0], target="ncbi"), answered("other", [1, 0], target="ncbi")]
    cells += [answered("third", [1, 1], target="ncbi")]
    # headqa: 1.5, 1.5, 3; ncbi: 3, 2, 1
    assert mean_ranks(grid_of(*cells), ["lora", "other", "third"]) == {
        "lora": 2.25,
        "other": 1.75,
        "third": 2.0,
    }


def test_ranks_leave_out_targets_that_a_method_misses():
    cells = [answered("lora", [1]), answered("other", [0]), answered("lora", [1], target="ncbi")]
    assert common_targets(grid_of(*cells), ["lora", "other"]) == ["headqa"]
    assert mean_ranks(grid_of(*cells), ["lora", "other"]) == {"lora": 1.0, "other": 2.0}
    assert mean_ranks(grid_of(*cells), ["lora", "absent"]) == {}


def test_wins_are_significant_and_higher_scores_need_not_be():
    cells = []
    for target, rows in (("won", RIGHT), ("near", [1] + [0] * 11), ("level", WRONG)):
        cells += [answered("lora", WRONG, target=target), answered("other", rows, target=target)]
    cells += [answered("lora", RIGHT, target="lost"), answered("other", WRONG, target="lost")]
    found = record(held(*cells), "other")
    assert (found.wins, found.ties, found.losses) == (1, 2, 1)
    assert (found.higher, found.lower) == (2, 1)


def test_the_same_generator_gives_the_same_comparison():
    cells = answered("lora", [1, 0, 0, 1]), answered("other", [1, 1, 0, 1])
    assert held(*cells) == held(*cells)


def test_ablations_are_variants_so_marked_whose_plain_form_is_there():
    marked = {"metaprompt@text", "adapted-metaprompt@no-distillation"}
    names = (*marked, "lora", "lora@r16", "adapted-metaprompt")
    cells = [answered(name, [1, 0], is_ablation=name in marked) for name in names]
    grid = summarize(cells, np.random.default_rng(0))
    assert ablated(grid.values()) == {"adapted-metaprompt@no-distillation"}
