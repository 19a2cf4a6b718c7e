import pytest

from clinprompt.errors import DataError
from clinprompt.evaluation.cells import Cell, append_cell, by_backbone, read_cells


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


def test_cells_are_read_in_order(tmp_path):
    path = tmp_path / "run" / "cells.jsonl"
    written = [cell(), cell(seed=1, value=0.1 + 0.2)]
    for one in written:
        append_cell(path, one)
    assert read_cells(path) == written
    assert written[1].key() == ("", "medbullets", "metaprompt", 16, 1)


def test_a_missing_file_has_no_cells(tmp_path):
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


def test_cells_are_grouped_by_backbone():
    cells = [cell(backbone="large"), cell(backbone="small"), cell(backbone="large", seed=1)]
    assert {name: len(group) for name, group in by_backbone(cells).items()} == {
        "large": 2,
        "small": 1,
    }
