"""The run of the fast tests with other versions says what was run and what was not."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def compat(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "compat"))


def test_the_last_line_of_pytest_is_counted():
    from versions import _counts  # noqa: PLC0415

    assert _counts("...\n2 failed, 5 passed, 3 skipped, 1 error in 3.2s\n") == {
        "failed": 3,
        "passed": 5,
        "skipped": 3,
    }
    assert _counts("") == {}


def test_a_python_that_is_missing_is_not_run_and_said_so(tmp_path, monkeypatch):
    from versions import Combination, _outcome, run  # noqa: PLC0415

    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    result = run(Combination("future", "3.99"), tmp_path)
    assert _outcome(result) == "not run: python3.99 is not on this machine"


def test_the_page_shows_the_committed_results(tmp_path):
    from versions import RESULTS, _save  # noqa: PLC0415

    known = json.loads((RESULTS / "versions.json").read_text())
    _save(tmp_path / "versions.json", known)
    assert (tmp_path / "versions.md").read_text() == (RESULTS / "versions.md").read_text()
