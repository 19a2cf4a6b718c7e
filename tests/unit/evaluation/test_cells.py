import pytest

from clinprompt.errors import DataError
from clinprompt.evaluation.cells import (
    Cell,
    append_cell,
    mean_over_targets,
    read_cells,
    summarize,
)


def cell(**changes):
    values = {
        "target": "medbullets",
        "task_type": "qa",
        "method": "metaprompt",
        "shots": 16,
        "seed": 0,
        "metric": "accuracy",
        "scorer": "accuracy",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "num_rows": 100,
        "detectable": 0.14,
        "extra": {"exact_match": 0.25},
    }
    return Cell(**{**values, **changes})


def test_cells_come_back_in_order(tmp_path):
    path = tmp_path / "run" / "cells.jsonl"
    written = [cell(), cell(seed=1, value=0.1 + 0.2)]
    for one in written:
        append_cell(path, one)
    assert read_cells(path) == written
    assert written[1].key() == ("", "medbullets", "metaprompt", 16, 1)


def test_no_file_holds_no_cells(tmp_path):
    assert read_cells(tmp_path / "cells.jsonl") == []


def test_a_half_written_last_line_is_left_out_and_written_over(tmp_path):
    path = tmp_path / "cells.jsonl"
    append_cell(path, cell())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_cells(path) == [cell()]
    append_cell(path, cell(seed=1))
    assert read_cells(path) == [cell(), cell(seed=1)]


def test_a_damaged_line_elsewhere_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "cells.jsonl"
    append_cell(path, cell())
    path.write_bytes(path.read_bytes() + b'{"target": 1\n')
    append_cell(path, cell(seed=1))
    with pytest.raises(DataError, match=r"cells\.jsonl:2"):
        read_cells(path)


def test_the_later_of_two_cells_with_one_key_counts(tmp_path):
    path = tmp_path / "cells.jsonl"
    append_cell(path, cell())
    append_cell(path, cell(value=0.55))
    assert [one.value for one in read_cells(path)] == [0.55]


def test_a_summary_is_the_mean_over_seeds():
    (summary,) = summarize([cell(), cell(seed=1, value=0.7, low=0.6, high=0.8)]).values()
    assert summary.num_seeds == 2
    assert (summary.value, summary.low, summary.high) == pytest.approx((0.6, 0.5, 0.7))


def test_half_widths_of_independent_targets_add_up_as_squares():
    summaries = summarize([cell(), cell(target="headqa", value=0.7, low=0.6, high=0.9)])
    # below: √(0.1² + 0.1²)/2 = 0.0707; above: √(0.1² + 0.2²)/2 = 0.1118
    assert mean_over_targets(summaries.values()) == pytest.approx(
        (0.6, 0.6 - 0.0707, 0.6 + 0.1118), abs=1e-4
    )
