"""Durations, the room that a budget has, and how long a cell is expected to take."""

from types import SimpleNamespace

import pytest
from made_up_cells import answered

from clinprompt.errors import SettingError
from clinprompt.jobs.comparison.budget import Budget, expected_seconds, seconds_of
from clinprompt.jobs.comparison.grid import CellSpec


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_a_duration_is_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "nanm", "infh"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(SettingError, match="write a duration such as"):
        seconds_of(text)


def test_a_budget_has_room_until_its_seconds_are_spent():
    times = iter([100.0, 103.0, 108.0])
    budget = Budget(10.0, lambda: next(times))
    assert budget.has_room(7.0)
    assert not budget.has_room(2.1)
    assert Budget().has_room(1e9)


def cell(method, shots, seconds, *, backbone="b"):
    return answered(
        method, [1], shots=shots, backbone=backbone, train_seconds=seconds, evaluate_seconds=1.0
    )


@pytest.mark.parametrize(
    ("method", "shots", "seconds"),
    [
        ("lora", 16, 11.0),  # its method and number of examples
        ("spot", 16, 16.0),  # its number of examples: the mean of lora and prompt tuning
        ("lora", 4, (11 + 41) / 2),  # its method
        ("spot", 4, (11 + 21 + 41 + 91) / 4),  # all cells, also of another backbone
    ],
)
def test_a_cell_is_expected_to_take_as_long_as_those_most_like_it(method, shots, seconds):
    known = [
        cell("lora", 16, 10.0),
        cell("prompt-tuning", 16, 20.0),
        cell("lora", 64, 40.0),
        cell("spot", 8, 90.0, backbone="other"),
    ]
    data = SimpleNamespace(card=SimpleNamespace(name="t"))
    spec = CellSpec("b", data, method, shots, seed=1)
    assert expected_seconds(known, spec) == pytest.approx(seconds)


def test_without_cells_nothing_is_expected():
    data = SimpleNamespace(card=SimpleNamespace(name="t"))
    assert expected_seconds([], CellSpec("b", data, "lora", 4, seed=0)) == 0.0
