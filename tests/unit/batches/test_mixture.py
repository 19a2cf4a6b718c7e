"""Which rows a step sees is a function of the seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinprompt.batches.mixture import (
    balanced_draws,
    draw_annotated,
    draw_shots,
    hold_out,
    sample,
    schedule,
    task_weights,
)

sizes_of_tasks = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def test_task_weights_are_proportional_at_temperature_1_and_near_equal_at_a_high_one():
    assert task_weights([1, 3], temperature=1.0).tolist() == [0.25, 0.75]
    # Square roots of 1 and 9: 1 and 3.
    assert task_weights([1, 9], temperature=2.0).tolist() == [0.25, 0.75]
    assert task_weights([1, 1000], temperature=1e6) == pytest.approx([0.5, 0.5], abs=1e-4)


def test_groups_have_equal_shares_and_temperature_acts_within_each():
    """Temperature 4: 16 and 256 have the powers 2 and 4, 1 and 81 the powers 1 and 3."""
    sizes, groups = [16, 1, 256, 81, 5], ["ner", "qa", "ner", "qa", "nli"]
    shares = task_weights(sizes, temperature=4.0, groups=groups)
    expected = [1 / 3 * 2 / 6, 1 / 3 * 1 / 4, 1 / 3 * 4 / 6, 1 / 3 * 3 / 4, 1 / 3]
    assert shares == pytest.approx(expected)


def test_a_group_of_one_task_is_drawn_as_often_as_a_group_of_three():
    groups = ["ner", "ner", "qa", "ner"]
    drawn = schedule([81, 1, 1000, 1], steps=1000, rows=8, temperature=4.0, seed=0, groups=groups)
    count = Counter(task for step in drawn for task, _ in step)
    shares = [count[task] / 8000 for task in range(4)]
    # Powers 3, 1 and 1 within ner: 3/10, 1/10 and 1/10. The standard errors are at most 0.006.
    assert shares == pytest.approx([0.3, 0.1, 0.5, 0.1], abs=0.02)


def test_one_group_of_all_tasks_draws_as_without_groups():
    sizes, fixed = [3, 9, 4], {"steps": 20, "rows": 4, "temperature": 2.0, "seed": 1}
    assert schedule(sizes, **fixed, groups=["qa"] * 3) == schedule(sizes, **fixed)


def test_tasks_are_drawn_in_proportion_to_their_weights():
    drawn = schedule([10, 30], steps=500, rows=8, temperature=1.0, seed=0)
    share = np.mean([task for step in drawn for task, _ in step])
    # 4,000 draws at 0.75: a standard error of 0.007.
    assert share == pytest.approx(0.75, abs=0.03)


@given(sizes_of_tasks, st.integers(0, 20), st.integers(0, 20), st.integers(0, 5))
def test_a_longer_schedule_starts_with_the_shorter_one(sizes, steps, more, seed):
    def course(length):
        return schedule(sizes, steps=length, rows=3, temperature=2.0, seed=seed)

    assert course(steps + more)[:steps] == course(steps)


@given(sizes_of_tasks, st.integers(0, 5))
def test_no_row_repeats_before_all_others_of_its_task(sizes, seed):
    course = schedule(sizes, steps=20, rows=4, temperature=3.0, seed=seed)
    for task, size in enumerate(sizes):
        seen = [index for step in course for drawn, index in step if drawn == task]
        for start in range(0, len(seen) - size + 1, size):
            assert sorted(seen[start : start + size]) == list(range(size))


def test_epochs_and_seeds_shuffle_differently():
    def course(seed):
        return [
            i
            for step in schedule([20], steps=4, rows=10, temperature=1.0, seed=seed)
            for _, i in step
        ]

    assert course(0)[:20] != course(0)[20:]
    assert course(0) != course(1)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_a_sample_has_no_repeats_and_keeps_the_order(size, count, seed):
    drawn = sample(range(size), count, seed=seed)
    assert len(drawn) == min(size, count)
    assert list(drawn) == sorted(set(drawn))
    assert drawn == sample(range(size), count, seed=seed)


@given(st.lists(st.integers(0, 5)), st.integers(0, 20), st.integers(0, 5))
def test_whole_notes_are_held_out_as_far_as_they_have_room(notes, count, seed):
    kept, held = hold_out(notes, count, seed=seed)
    assert sorted([*kept, *held]) == list(range(len(notes)))
    assert len(held) <= count
    sides = [{notes[number] for number in side} for side in (kept, held)]
    assert not sides[0] & sides[1]
    assert all(notes.count(note) > count - len(held) for note in sides[0])
    assert (kept, held) == hold_out(notes, count, seed=seed)


@given(st.lists(st.sampled_from("abc")), st.integers(0, 20), st.integers(0, 5))
def test_shots_are_balanced_as_far_as_rows_allow(groups, count, seed):
    chosen = draw_shots(groups, count, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(count, len(groups))
    have, got = Counter(groups), Counter(groups[index] for index in chosen)
    for group in have:
        # A group has fewer than another by two or more only when all of it was taken.
        assert got[group] == have[group] or got[group] >= max(got.values(), default=0) - 1


def test_no_label_is_preferred_where_the_shots_cannot_be_even():
    """Four rows of three labels, in many draws: each label has two of them about equally often."""
    groups = ["a", "b", "c"] * 5
    twice = Counter()
    for seed in range(300):
        got = Counter(groups[index] for index in draw_shots(groups, 4, seed=seed))
        twice.update(label for label, count in got.items() if count == 2)
    assert twice.total() == 300
    assert all(70 < twice[label] < 130 for label in "abc")


def test_shots_depend_only_on_the_seed():
    groups = ["a", "b"] * 20
    assert draw_shots(groups, 8, seed=0) == draw_shots(groups, 8, seed=0)
    assert draw_shots(groups, 8, seed=0) != draw_shots(groups, 8, seed=1)


rows_of_types = st.lists(st.sets(st.sampled_from("abc")), max_size=30)


@given(rows_of_types, st.integers(0, 20), st.integers(0, 5))
def test_three_in_four_shots_have_an_annotation_as_far_as_rows_allow(types, count, seed):
    count = min(count, len(types))
    chosen = draw_annotated(types, count, seed=seed)
    assert len(set(chosen)) == len(chosen) == count
    assert chosen == draw_annotated(types, count, seed=seed)
    num_annotated = sum(bool(types[index]) for index in chosen)
    assert num_annotated >= min(sum(map(bool, types)), count - count // 4)


@given(rows_of_types, st.integers(4, 20), st.integers(0, 5))
def test_every_type_is_among_four_shots_or_more(types, count, seed):
    # Three types, and at least three of four rows are annotated.
    chosen = draw_annotated(types, min(count, len(types)), seed=seed)
    if len(types) >= count:
        assert set().union(*types) == set().union(*(types[index] for index in chosen))


def test_annotated_shots_of_rare_annotations_and_types():
    types = [set() for _ in range(96)] + [{"drug"}, {"drug"}, {"drug"}, {"dose", "drug"}]
    for seed in range(20):
        chosen = draw_annotated(types, 4, seed=seed)
        assert 99 in chosen  # the only row with a dose
        assert sum(index >= 96 for index in chosen) == 3
        assert draw_annotated(types, 1, seed=seed) == (99,)
    assert len({draw_annotated(types, 16, seed=seed) for seed in range(20)}) > 1


def test_annotated_shots_keep_a_small_share_of_empty_rows():
    types = [{"drug"}] * 99 + [set()]
    shares = [sum(not types[i] for i in draw_annotated(types, 20, seed=s)) for s in range(200)]
    # One in 100 rows is empty, so one in five draws of 20 has it.
    assert np.mean(shares) == pytest.approx(0.2, abs=0.1)


def test_balanced_draws_of_one_half_take_turns_with_the_other_half():
    draws = balanced_draws(10, 5, draws=6, seed=3)
    for first, second in zip(draws[::2], draws[1::2], strict=True):
        assert sorted(first + second) == list(range(10))
    assert len(set(draws)) == 6


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 5), st.data())
def test_balanced_draws_choose_all_numbers_equally_often_up_to_one(size, draws, seed, data):
    count = data.draw(st.integers(1, size))
    found = balanced_draws(size, count, draws=draws, seed=seed)
    assert all(len(set(one)) == count and sorted(one) == list(one) for one in found)
    often = Counter(number for one in found for number in one)
    assert max(often.values()) - min(often[number] for number in range(size)) <= 1
    assert balanced_draws(size, count, draws=draws + 2, seed=seed)[:draws] == found
