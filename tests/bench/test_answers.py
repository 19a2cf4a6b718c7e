"""The bench of settings that are on or off shares fits, and its page shows the committed cells."""

import importlib
import sys
from pathlib import Path

import pytest

from clinprompt.evaluation.cells import Cell, append_cell
from clinprompt.tasks.card import find_card

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "answers"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module("answers")
    finally:
        sys.path.pop(0)


@pytest.fixture
def config(script):
    return script.load_config(script.CONFIG)


@pytest.fixture
def num_planned(script, config):
    """Return the number of cells of a complete run on the usual tasks."""
    return script.num_planned(config, [find_card(name) for name in script.usual_tasks(config)])


def cell(method, seed, hits, **changes):
    """Return a cell of four labels, of which ``hits`` are right."""
    rows = [(1.0, 1.0)] * hits + [(0.0, 1.0)] * (4 - hits)
    values = {
        "target": "practice-nli-social",
        "task_type": "nli",
        "method": method,
        "shots": 16,
        "seed": seed,
        "metric": "accuracy",
        "scorer": "accuracy",
        "value": hits / 4,
        "low": 0.0,
        "high": 1.0,
        "num_rows": 4,
        "detectable": 0.5,
        "row_digest": "same",
        "statistics": rows,
    }
    return Cell(**{**values, **changes})


def test_settings_that_change_only_answers_share_a_fit_and_only_matching_tasks_have_them(
    script, config
):
    cards = [find_card(f"practice-{name}") for name in ("ner-drugs", "nli-social")]
    found = [
        (one.card.name, one.method, one.answered)
        for one in script.trainings(config, cards)
        if one.seed == 0
    ]
    assert ("practice-ner-drugs", "lora", ("lora", "lora@free")) in found
    assert ("practice-nli-social", "lora", ("lora", "lora@calibrated")) in found
    assert {name for _, _, answered in found for name in answered} == set(config.compare.methods)
    assert {method for name, method, _ in found if name == "practice-nli-social"} == {
        "adapted-metaprompt",
        "lora",
        "lora@instruction",
    }


def test_variants_differ_in_nothing_else(script, config):
    grid = {"compare", "variants"}
    plain = script.resolve(config).model_dump(exclude=grid)
    for name, changed in {
        "free": {"data"},
        "calibrated": {"data"},
        "token": {"adapt"},
        "capped": {"adapt"},
    }.items():
        own = script.resolve(config, variant=name).model_dump(exclude=grid)
        assert {group for group in own if own[group] != plain[group]} == changed, name
    instructed = script.resolve(config, variant="instruction").model_dump()
    assert instructed["data"] == {**plain["data"], "input_form": 2}
    assert instructed["baselines"] == plain["baselines"]
    assert instructed["adapt"] == plain["adapt"]


def test_page_compares_the_draws_that_both_sides_have(script, config, num_planned, tmp_path):
    for one in (
        cell("lora", 0, 1),
        cell("lora", 1, 2),
        cell("lora", 2, 2),  # the third draw is not calibrated yet
        cell("lora@calibrated", 0, 3),
        cell("lora@calibrated", 1, 2),
    ):
        append_cell(tmp_path / "cells.jsonl", one)
    script.write_table(tmp_path, config, num_planned=num_planned)
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith("| practice-nli-social | lora")]
    _, _, _, off, on, difference, draws, _ = (part.strip() for part in row.split("|"))
    assert off.startswith("0.38 [")  # (1/4 + 2/4) / 2
    assert on.startswith("0.62 [")  # (3/4 + 2/4) / 2
    assert difference.startswith("+0.25 [")
    assert draws == "+0.50, +0.00"
    assert page.count("No results yet.") == 4
    assert "**Not complete: 5 of 111 results.**" in page


def test_page_is_made_from_the_committed_cells(script, config, num_planned, tmp_path):
    committed = (RESULTS / "cells.jsonl").read_bytes()
    (tmp_path / "cells.jsonl").write_bytes(committed)
    script.write_table(tmp_path, config, num_planned=num_planned)
    found = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert found == (RESULTS / "table.md").read_text(encoding="utf-8")


def test_other_tasks_have_the_cells_of_their_kind(script, config):
    # In each of three draws: both methods, calibrated and not, and LoRA with the instruction.
    assert script.num_planned(config, [find_card("nli-healthver")]) == 3 * (2 + 2 + 1)


def test_page_of_other_tasks_is_made_from_the_committed_cells_and_names_its_command(
    script, tmp_path
):
    folder = RESULTS.parent / "calibration"
    tasks = "re-crowdtruth-cause,nli-healthver"
    changes = ["dtype=float32", "data.test_label_rows=150"]
    config = script.load_config(script.CONFIG, changes)
    (tmp_path / "cells.jsonl").write_bytes((folder / "cells.jsonl").read_bytes())
    planned = script.num_planned(config, [find_card(name) for name in tasks.split(",")])
    options = script.options_of(tasks, changes)
    script.write_table(tmp_path, config, num_planned=planned, options=options)
    found = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert found == (folder / "table.md").read_text(encoding="utf-8")
    assert f"--tasks {tasks} --results FOLDER --set dtype=float32" in found
