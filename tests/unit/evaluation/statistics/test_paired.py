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


def held(*cells, methods=("other",), **options):
    return compare(grid_of(*cells), methods, "lora", np.random.default_rng(1), **options)


def on_targets(differences, num_rows=10):
    """Return cells of lora and other: on target number i, other has differences[i] of its rows."""
    cells = []
    for name, share in differences.items():
        right = [1] * round(share * num_rows) + [0] * (num_rows - round(share * num_rows))
        cells += [answered("lora", [0] * num_rows, target=name)]
        cells += [answered("other", right, target=name)]
    return cells


def test_rows_that_differ_alike_leave_no_width():
    one = held(answered("lora", [0, 0]), answered("other", [1, 1])).differences["other", "headqa"]
    assert (one.value, one.low, one.high) == (1.0, 1.0, 1.0)
    assert one.is_clear


def test_the_difference_of_each_seed_is_kept():
    cells = [answered("lora", [0, 0], seed=0), answered("lora", [1, 0], seed=1)]
    cells += [answered("other", [1, 1], seed=0), answered("other", [1, 1], seed=1)]
    found = held(*cells).differences
    assert found["other", "headqa"].by_seed == {0: 1.0, 1: 0.5}
    assert found["other", MEAN].by_seed == {0: 1.0, 1: 0.5}
    # Two seeds, and rows that differ in one of them.
    assert found["other", "headqa"].low < 0
    assert found["other", "headqa"].high >= 1


def test_the_mean_without_two_targets_leaves_out_those_that_contribute_most():
    cells = on_targets({"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.3})
    comparison = held(*cells)
    assert comparison.differences["other", MEAN].value == pytest.approx(0.45)
    rest = comparison.remaining["other"]
    assert rest.without == ("a", "c")
    assert rest.value == pytest.approx(0.2)  # (0.1 + 0.3) / 2


def test_a_negative_mean_leaves_out_the_most_negative_targets():
    shares = {"a": 0.9, "b": 0.1, "c": 0.5}
    generator = np.random.default_rng(0)
    grid = grid_of(*on_targets(shares))
    rest = compare(grid, ["lora"], "other", generator).remaining["lora"]
    assert (rest.without, rest.value) == (("a", "c"), pytest.approx(-0.1))


def test_without_more_than_two_targets_nothing_remains():
    assert held(*on_targets({"a": 0.9, "b": 0.1})).remaining == {}


def test_two_metaprompts_are_compared_by_the_same_function():
    cells = [answered("lora", WRONG), answered("other@one", WRONG), answered("other@two", RIGHT)]
    found = compare(grid_of(*cells), ["other@two"], "other@one", np.random.default_rng(0))
    assert found.differences["other@two", MEAN].value == 1.0


def test_only_means_are_returned_if_only_means_are_shown():
    comparison = held(answered("lora", WRONG), answered("other", RIGHT), each_target=False)
    assert set(comparison.differences) == {("other", MEAN)}


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


def simulated(generator, *, between):
    """Return cells on nine targets; true differences vary with this standard deviation around 0.1.

    Each target has three seeds, whose differences vary by 0.03, and 60 rows, which are easy or hard
    for both methods alike.
    """
    cells = []
    for number in range(9):
        effect = generator.normal(0.1, between)
        luck = generator.random(60)
        for seed in range(3):
            gain = effect + generator.normal(0, 0.03)
            names = {"target": f"t{number}", "seed": seed}
            noise = generator.normal(0, 0.1, size=60)
            cells.append(answered("lora", luck + noise < 0.4, **names))
            cells.append(
                answered("other", luck + generator.normal(0, 0.1, 60) < 0.4 + gain, **names)
            )
    return cells


def row_only_interval(cells):
    grid = grid_of(*cells)
    targets = sorted({target for target, _ in grid})
    drawn = [grid[one, "other"].draws - grid[one, "lora"].draws for one in targets]
    return np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])


def test_the_interval_of_the_mean_covers_where_targets_differ_and_that_of_rows_does_not():
    generator = np.random.default_rng(5)
    covered, covered_by_rows, is_wider = [], [], []
    for _ in range(150):
        cells = simulated(generator, between=0.15)
        found = held(*cells, each_target=False).differences["other", MEAN]
        low, high = row_only_interval(cells)
        covered.append(found.low <= 0.1 <= found.high)
        covered_by_rows.append(low <= 0.1 <= high)
        is_wider.append(found.high - found.low > high - low)
    # The standard error of a coverage of 95 % in 150 trials is 0.018; three of them.
    assert 0.895 <= np.mean(covered) <= 1.0
    assert np.mean(covered_by_rows) < 0.8
    assert all(is_wider)


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


def test_the_interval_of_a_win_excludes_0_and_that_of_a_higher_score_need_not():
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
