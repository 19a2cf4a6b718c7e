"""Groups hold every row once, within their limit, at no more than the cost of one group."""

from hypothesis import given
from hypothesis import strategies as st

from clinprompt.batches.encode import Row
from clinprompt.batches.group_rows import group_by_common_start, micro_batches

lengths_of_rows = st.lists(st.integers(1, 40), max_size=30)


def rows_of(lengths):
    return [Row(0, tuple(range(length))) for length in lengths]


@given(lengths_of_rows, st.integers(1, 120))
def test_micro_batches_hold_every_row_once_within_the_limit(lengths, max_tokens):
    rows = rows_of(lengths)
    groups = micro_batches(rows, max_tokens=max_tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(rows)))
    for group in groups:
        padded = max(len(rows[index]) for index in group) * len(group)
        assert padded <= max_tokens or len(group) == 1


@given(lengths_of_rows, st.integers(1, 120))
def test_micro_batches_go_from_long_to_short(lengths, max_tokens):
    rows = rows_of(lengths)
    order = [len(rows[i]) for group in micro_batches(rows, max_tokens=max_tokens) for i in group]
    assert order == sorted(order, reverse=True)


@given(lengths_of_rows, st.integers(1, 120), st.integers(0, 50))
def test_micro_batches_cost_no_more_than_one_group_or_one_group_for_each_row(
    lengths, max_tokens, overhead
):
    rows = rows_of(lengths)
    groups = micro_batches(rows, max_tokens=max_tokens, overhead=overhead)
    cost = sum(len(group) * len(rows[group[0]]) + overhead for group in groups)
    sizes = [len(row) for row in rows]
    assert cost <= sum(sizes) + overhead * len(rows)
    if max(sizes, default=0) * len(rows) <= max_tokens:
        assert cost <= max(sizes, default=0) * len(rows) + overhead


def test_micro_batches_separate_short_rows_from_long_ones():
    rows = rows_of([100, 10, 90, 12])
    assert micro_batches(rows, max_tokens=1000, overhead=20) == [[0, 2], [3, 1]]
    assert micro_batches(rows, max_tokens=1000, overhead=500) == [[0, 2, 3, 1]]


def test_rows_with_the_same_start_are_grouped_in_any_order():
    ids = [(1, 2, 3, 4), (9,), (1, 2, 3), (1, 2), (9,), (1, 2, 3, 7, 8)]
    rows = [Row(0, own) for own in ids]
    assert sorted(map(sorted, group_by_common_start(rows, min_tokens=3))) == [
        [0, 2, 5],
        [1],
        [3],
        [4],
    ]
    assert sorted(map(sorted, group_by_common_start(rows, min_tokens=1))) == [[0, 2, 3, 5], [1, 4]]
