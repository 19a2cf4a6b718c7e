"""Progress and tables on a screen that is not a terminal."""

import io

import pytest
from rich.console import Console

from clinprompt.cli import screen
from clinprompt.cli.screen import Bar, print_table


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only value is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(screen, "monotonic", lambda: now[0])
    return now


def lines_of(clock, seconds_each, *, prints_lines):
    written = io.StringIO()
    with Bar(Console(file=written, width=200), prints_lines=prints_lines) as bar:
        bar.begin("task", total=40)
        for _ in range(40):
            clock[0] += seconds_each
            bar.advance()
    return [line for line in written.getvalue().splitlines() if line]


def test_answers_that_take_long_are_shown_as_lines(clock):
    # every tenth is 4 answers, so 4 s; a line comes after more than 5 s, so at each second tenth
    assert lines_of(clock, 1.0, prints_lines=True) == [
        "task: 8 of 40 done, about 32 s left",
        "task: 16 of 40 done, about 24 s left",
        "task: 24 of 40 done, about 16 s left",
        "task: 32 of 40 done, about 8 s left",
        "task: 40 of 40 done",
    ]


def test_answers_that_take_little_time_are_not_shown_as_lines(clock):
    assert lines_of(clock, 0.1, prints_lines=True) == []


def test_a_bar_without_lines_prints_none(clock):
    assert lines_of(clock, 1.0, prints_lines=False) == []


@pytest.mark.parametrize(("columns", "num_lines"), [(None, 1), ("40", 10)])
def test_a_row_is_one_line_unless_a_width_is_given(capsys, monkeypatch, columns, num_lines):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    print_table(["setting", "loss"], [["x" * 300, "0.5"]])
    printed = capsys.readouterr().out
    assert sum("x" in line for line in printed.splitlines()) == num_lines
    assert printed.count("x") == 300
