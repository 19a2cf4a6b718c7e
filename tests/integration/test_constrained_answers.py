"""Constrained answers are always readable and in the note; free ones of a random model are not."""

import json
import re

import pytest
from command_line import call
from made_metaprompt import save_metaprompt
from small_comparison import COMMAND, config_of, fill

TASK = "practice-ner-drugs"
NOTES = ("Took aspirin 81 mg.", "Né:\r\n metformin 🙂\t2x", "No drugs", "")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, tiny_llama_folder):
    """Return a folder with a prompt that was adapted to find drugs."""
    folder = tmp_path_factory.mktemp("adapted")
    save_metaprompt(folder / "metaprompt", tiny_llama_folder)
    on = ("--set", f"backbone={tiny_llama_folder}", "--set", "device=cpu")
    words = ("--metaprompt", "metaprompt", "--shots", 4, "--out", "run")
    ended = call("adapt", TASK, *words, *on, folder=folder)
    assert ended.exit_code == 0, ended.stderr
    (folder / "notes.jsonl").write_text("".join(json.dumps({"text": n}) + "\n" for n in NOTES))
    return folder


def wrong_lines(row):
    return len(row.get("ungrounded", ())) + ("unparseable" in row)


def test_predict_names_words_of_the_note_unless_it_is_free(adapted, tiny_llama_folder):
    on = ("--backbone", tiny_llama_folder, "--device", "cpu")
    words = ("predict", f"run/store/{TASK}", "notes.jsonl")
    wrong = {}
    for name, options in {"constrained": (), "free": ("--free",)}.items():
        ended = call(*words, f"{name}.jsonl", *options, *on, folder=adapted)
        assert ended.exit_code == 0, ended.stderr
        rows = [json.loads(line) for line in (adapted / f"{name}.jsonl").read_text().splitlines()]
        assert len(rows) == len(NOTES)
        wrong[name] = sum(map(wrong_lines, rows))
    assert wrong["constrained"] == 0
    assert wrong["free"] > 0


def test_evaluate_counts_no_wrong_lines_unless_it_is_free(adapted, tiny_llama_folder):
    on = ("--backbone", tiny_llama_folder, "--device", "cpu", "--json", "--rows", 3)
    shares = {}
    for name, options in {"constrained": (), "free": ("--free",)}.items():
        ended = call("evaluate", f"run/store/{TASK}", *options, *on, folder=adapted)
        assert ended.exit_code == 0, ended.stderr
        cell = json.loads(ended.stdout)
        shares[name] = cell["unparseable"], cell["ungrounded"]
    assert shares["constrained"] == (0, 0)
    assert max(shares["free"]) > 0


def shares_in_report(folder):
    """Return the shares of unparseable rows and ungrounded mentions, as the report prints them."""
    report = (folder / "report" / "report.md").read_text()
    _, table = report.split("Unreadable outputs and cut inputs")
    table = table.split("\n## ")[0].split("\n### ")[0]
    rows = re.findall(r"^\| ([a-z][a-z-]+)[^|]*\| ([^|]+) \| ([^|]+) \|", table, re.MULTILINE)
    return {name: values for name, *values in rows if name != "method"}


def test_a_comparison_reports_these_shares_for_each_method(tmp_path, tiny_llama_folder):
    methods = ("instruction", "prompt-tuning")
    data = {"max_input_tokens": 400, "max_target_tokens": 12, "train_rows": 6, "test_rows": 3}
    found = {}
    for constrained in (True, False):
        settings = {**data, "validation_rows": 2, "constrained": constrained}
        compare = {"methods": methods, "shots": [2]}
        config = config_of(tmp_path, tiny_llama_folder, data=settings, compare=compare)
        cells = fill(tmp_path / str(constrained), config, command=COMMAND).cells
        wrong = [
            max(cell.unparseable, cell.ungrounded) for cell in cells if cell.task_type == "ner"
        ]
        assert len(wrong) == len(methods)
        assert (max(wrong) == 0) == constrained
        found[constrained] = shares_in_report(tmp_path / str(constrained))
        assert set(found[constrained]) == set(methods)
    assert {tuple(one) for one in found[True].values()} == {("0.0% (0.0%)", "0.0% (0.0%)")}
    assert {tuple(one) for one in found[False].values()} != {("0.0% (0.0%)", "0.0% (0.0%)")}
