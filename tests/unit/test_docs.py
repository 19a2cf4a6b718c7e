"""Commands and results that the documents show must be real."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from clinprompt.cli import app
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import Files, Resplit, Source, Wording
from clinprompt.tasks.kinds.table import KINDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for path in DOCUMENTS
        for block in _BLOCK.findall(path.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.startswith("clinprompt ")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_is_one_that_exists(command):
    """Parse the whole line: an unknown command or option, or a missing argument, raises."""
    words = shlex.split(command)[1:]
    parsed = typer.main.get_command(app)
    while hasattr(parsed, "commands"):
        name = words.pop(0)
        assert name in parsed.commands, name
        parsed = parsed.commands[name]
    parsed.make_context(name, words)


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE):
        assert f"\n{target}:" in makefile, target


def test_results_tables_are_made_from_the_committed_cells(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = import_module("insert_results")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(made.BEGIN)[1].split(made.END)[0]
    assert shown.strip() == made.readme_table().strip()
    assert made.TABLE.read_text(encoding="utf-8").strip() == made.whole_table().strip()
    assert made.ALL_TARGETS.read_text(encoding="utf-8") == made.all_targets()
    assert made.DIFFERENCES.read_text(encoding="utf-8") == made.differences_to_controls()


_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_DIFFERENCE = re.compile(rf"([+-]\d+(?:\.\d+)?)( points)?\s+\[{_NUMBER},\s+{_NUMBER}\]")


def differences(path):
    """Return the differences with intervals that a document shows, in hundredths."""
    found = _DIFFERENCE.findall(path.read_text(encoding="utf-8"))
    return {
        tuple(round(float(number) * (1 if points else 100)) for number in (middle, low, high))
        for middle, points, low, high in found
    }


@pytest.mark.parametrize(("name", "least"), [("README.md", 8), ("docs/paper.md", 4)])
def test_differences_that_a_document_shows_are_those_of_a_report(name, least):
    shown, results = differences(ROOT / name), ROOT / "docs" / "results"
    assert len(shown) >= least
    reports = ("four-targets/report.md", "more-targets/all-targets.md")
    assert shown <= set().union(*(differences(results / report) for report in reports))


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_table_of_tasks_is_made_from_the_committed_check(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = import_module("insert_tasks")
    page = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    assert page.split(made.BEGIN)[1].split(made.END)[0].strip() == made.table_text().strip()


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("write_settings", "| `distill.steps` | `2000` | at least 0 | training steps |"),
        ("write_settings", '| `prompt.start` | `"vocabulary"` | `vocabulary`, `text` |'),
        ("write_commands", "| `--shots` | `64` | Number of training examples; 0 trains nothing."),
        ("write_cards", "| `ner` | `spans` | `entity_f1` | the F1 over all mentions; one is right"),
        ("write_cards", "| `token` | `0` |  | column of the token, counted from 0 |"),
    ],
)
def test_the_pages_of_reference_are_made_from_the_code(script, line, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    page = import_module(script)
    text = page.page_text()
    assert page.PAGE.read_text(encoding="utf-8") == text, f"run: python docs/{script}.py"
    assert line in text


def test_every_metric_and_every_field_of_a_card_says_what_it_means():
    metrics = [metric for kind in KINDS.values() for metric in kind.metrics]
    assert all(metric.meaning for metric in metrics)
    for part in (TaskCard, Source, Files, Resplit, Wording):
        assert all(field.description for field in part.model_fields.values()), part


def test_the_readme_and_the_page_on_tasks_begin_with_the_users_own_task():
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    parts = re.findall(r"^##+ (.+)$", page, re.MULTILINE)
    assert headings[:3] == ["Your own task", "Adapting to a task", "Answering new notes"]
    links = (ROOT / "README.md").read_text(encoding="utf-8") + page
    anchors = {heading.lower().replace(" ", "-") for heading in parts}
    for anchor in re.findall(r"\((?:docs/tasks\.md)?#([^)]+)\)", links):
        assert anchor in anchors, anchor


def test_committed_results_hold_no_absolute_path():
    for path in (ROOT / "docs" / "results").rglob("*"):
        if path.suffix in {".md", ".json", ".jsonl", ".html", ".toml"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.:/])/(?:home|root|work|tmp|Users)/", text), path
