"""Scripts for a GPU run completely with a tiny model, and continue after a stop."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinprompt.prompts.artifact import load_artifact
from clinprompt.settings.run import load_config
from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "gpu" / "1_compare_512.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_512", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run: its folder comes first
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _run(out, work, model, *options):
    command = [sys.executable, str(SCRIPT), str(out), "--work", str(work), "--tiny", str(model)]
    command += ["--prompt-processes", "1", "--lora-processes", "1", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)


def _cells(out, grid):
    return [json.loads(line) for line in (out / f"cells-{grid}.jsonl").read_text().splitlines()]


def _run_script(name, out, work, model, *options):
    command = [sys.executable, str(SCRIPT.parent / name), str(out), "--work", str(work)]
    command += ["--tiny", str(model), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)


@pytest.mark.slow
def test_metaprompt_is_learned_in_the_steps_that_fit_and_not_again_by_a_second_call(
    tmp_path, tiny_llama_folder
):
    out, work = tmp_path / "out", tmp_path / "work"
    ended = _run_script("2_metaprompt.py", out, work, tiny_llama_folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    chosen = json.loads((out / "steps-0.json").read_text())
    assert {phase: own["steps"] for phase, own in chosen.items()} == {"teacher": 3, "distill": 3}
    assert all(own["seconds of a step"] > 0 for own in chosen.values())
    first = load_artifact(out / "metaprompt-0")
    assert first.manifest.settings["distill"]["steps"] == 3
    assert len([path for path in out.rglob("*") if path.is_file()]) <= 8
    again = _run_script("2_metaprompt.py", out, work, tiny_llama_folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert load_artifact(out / "metaprompt-0").manifest == first.manifest


@pytest.mark.slow
def test_few_shots_are_compared_with_searched_rates(tmp_path, tiny_llama_folder):
    """2 tasks x 16 trials in the search; 2 targets x 5 methods in the grid."""
    out = tmp_path / "out"
    counts = ("--prompt-processes", "2", "--lora-processes", "1")
    ended = _run_script("3_few_shots.py", out, tmp_path / "work", tiny_llama_folder, *counts)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {grid: len(_cells(out, grid)) for grid in ("search", "few-shots")} == {
        "search": 32,
        "few-shots": 10,
    }
    for lane in ("prompts", "lora"):
        rates = json.loads((out / f"rates-{lane}.json").read_text())
        assert all(len(own["tasks"]) == 2 for own in rates.values())
    assert len(list(out.iterdir())) <= 8


def test_script_searches_compares_and_continues_from_what_it_returned(tmp_path, tiny_llama_folder):
    """2 tasks x 16 trials in the search; 2 targets x 4 methods in each comparison."""
    ended = _run(tmp_path / "out", tmp_path / "work", tiny_llama_folder)
    assert ended.returncode == 0, ended.stderr
    counts = {grid: len(_cells(tmp_path / "out", grid)) for grid in ("search", "64", "full")}
    assert counts == {"search": 32, "64": 8, "full": 8}
    assert len(list((tmp_path / "out").iterdir())) <= 8
    rates = json.loads((tmp_path / "out" / "rates.json").read_text())
    assert all(len(chosen["tasks"]) == 2 for chosen in rates.values())
    # On another machine with too little time for anything: all is there from the start.
    state = str(tmp_path / "out" / "state.tar.gz")
    _run(
        tmp_path / "next",
        tmp_path / "other",
        tiny_llama_folder,
        "--resume",
        state,
        "--seconds",
        "9",
    )
    assert _cells(tmp_path / "next", "search") == _cells(tmp_path / "out", "search")


def test_search_looks_at_no_target_and_at_nothing_that_the_metaprompt_has_seen(script):
    held_back, suite = find_suite(str(SCRIPT.parent / "held-back.toml")), find_suite("shippable")
    assert held_back.sources == suite.sources
    assert not set(held_back.targets) & {*suite.sources, *suite.targets}
    search = load_config(script.CONFIGS["search"])
    assert search.compare.targets == held_back.targets
    for grid in ("64", "full"):
        config = load_config(script.CONFIGS[grid])
        assert {*script.PROMPTS, *script.UNTRAINED, "lora"} < set(config.compare.methods)
        assert config.data.model_copy(update={"test_rows": 100}) == search.data


def test_best_trial_has_the_lowest_mean_rank_and_unfinished_tasks_do_not_count(script):
    """Ranks of trials 1 to 4: on a 4, 3, 2, 1; on b 1, 2.5, 2.5, 4; on c 4, 2, 1, 3."""
    scores = {"a": (0.1, 0.2, 0.3, 0.4), "b": (0.9, 0.1, 0.1, 0.0), "c": (0.1, 0.5, 0.6, 0.2)}
    cells = [
        {"target": task, "method": f"lora@{number}", "value": value}
        for task, own in scores.items()
        for number, value in enumerate(own, start=1)
    ]
    unfinished = [{"target": "d", "method": "lora@1", "value": 1.0}]
    best = script.best_trial("lora", cells + unfinished)
    assert best["settings"] == {"baselines.lora_rate": 0.003}
    assert best["tasks"] == ["a", "b", "c"]
    assert best["mean ranks"]["lora@3"] == pytest.approx((2 + 2.5 + 1) / 3)


def test_without_a_finished_task_the_settings_of_the_config_stay(script):
    assert script.best_trial("lora", [])["settings"] == {}
