"""Scripts for a GPU run completely with a tiny model, and continue after a stop."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import answer_all
from clinprompt.backbone.scheduler import Ask
from clinprompt.batches.encode import Row
from clinprompt.prompts.artifact import load_artifact
from clinprompt.settings.run import load_config
from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "bench" / "gpu"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[0-9]_*.py"))


@pytest.fixture(scope="module")
def scripts():
    """Return what the scripts share, as modules of their own folder."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        import choice  # noqa: PLC0415
        import grids  # noqa: PLC0415

        yield choice, grids
    finally:
        sys.path[:] = before  # the scripts add the folder of the other benches


def _cells(out, grid):
    return [json.loads(line) for line in (out / f"cells-{grid}.jsonl").read_text().splitlines()]


def _run_script(name, out, work, model, *options):
    """Run a script on a tiny model; its time is enough on a busy machine, unless given."""
    command = [sys.executable, str(FOLDER / name), str(out), "--work", str(work)]
    command += ["--tiny", str(model), "--seconds", "3000", *options]
    environment = {**os.environ, "CHECK_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_each_script_is_described_with_its_command():
    page = (FOLDER / "README.md").read_text()
    assert len(SCRIPTS) == 5
    for name in SCRIPTS:
        assert f"python bench/gpu/{name} OUT" in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_its_budget_and_stops_in_time(tmp_path, tiny_llama_folder, name):
    """9 s, of which 8 s are kept for packing: workers are stopped after one."""
    ended = _run_script(name, tmp_path / "out", tmp_path / "w", tiny_llama_folder, "--seconds", "9")
    assert "budget: 9 s" in ended.stdout, ended.stdout + ended.stderr
    assert (tmp_path / "out" / "machine.json").is_file()
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1


@pytest.mark.slow
def test_checks_find_equal_answers_and_gradients_where_the_device_is_the_cpu(
    tmp_path, tiny_llama_folder, monkeypatch
):
    """Also if the packed tasks of the other scripts, which lack the made-up notes, are named."""
    (tmp_path / "ner-packed.json.xz").touch()
    monkeypatch.setenv("CLINPROMPT_MIRROR", str(tmp_path))
    out, work = tmp_path / "out", tmp_path / "work"
    only = ("--device", "cpu", "--only", "answers", "gradients", "decoding", "llama-8b")
    ended = _run_script("1_checks.py", out, work, tiny_llama_folder, *only, "gpt-oss-20b")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = {name: json.loads((out / f"check-{name}.json").read_text()) for name in only[3:]}
    assert found["answers"]["cause"] == "none: answers agree"
    sides = found["answers"]["sides"]
    assert set(sides) == {"cpu float32", "cpu bfloat16"}
    [first, *_] = sides["cpu float32"]["first steps"]
    assert first["choice is allowed"]
    assert 0 < first["allowed tokens"] < 264
    assert set(found["gradients"]["errors"]["cpu float32"].values()) == {0.0}
    assert 0 < found["gradients"]["errors"]["cpu bfloat16"]["layers"] < 0.2
    assert found["decoding"]["as it is"] > 0
    again = _run_script("1_checks.py", out, work, tiny_llama_folder, *only)
    assert again.stdout.count("done before") == 4


def test_checks_name_the_first_fault(scripts):
    """Masks that were changed on the way to the device, then answers that differ."""
    from devices import cause_of  # noqa: PLC0415 - from the folder of the scripts

    step = {"choice is allowed": True, "allowed tokens": 9}
    right = {
        "masks": {"16 rows": True},
        "faults": [],
        "first steps": [step],
        "free": ["a", "b"],
        "constrained": ["a", "b"],
    }
    names = ("cpu float32", "cuda float32", "cpu bfloat16", "cuda bfloat16")
    sides = dict.fromkeys(names, right)
    assert cause_of(sides, "cuda") == "none: answers agree"
    none = sides | {"cuda bfloat16": right | {"constrained": ["none", "none"]}}
    assert cause_of(none, "cuda").startswith("cuda bfloat16: only constrained answers differ")
    masks = none | {"cuda float32": right | {"masks": {"16 rows": False}}}
    assert cause_of(masks, "cuda").startswith("cuda float32: masks are changed")
    choice = sides | {"cpu float32": right | {"first steps": [step | {"choice is allowed": False}]}}
    assert cause_of(choice, "cuda").startswith("cpu float32: argmax gives a forbidden token")
    end = dict.fromkeys(names, right | {"first steps": [step | {"allowed tokens": 1}]})
    assert cause_of(end, "cuda").startswith("cpu float32: the tokens of an answer are not found")


@pytest.mark.slow
def test_queue_answers_as_on_the_cpu_and_is_timed_under_rising_load(tmp_path, tiny_llama_folder):
    """The peer reads the same prompts and rows: in float32 it writes the same tokens."""
    out, only = tmp_path / "out", ("--device", "cpu", "--only", "serving")
    ended = _run_script("1_checks.py", out, tmp_path / "work", tiny_llama_folder, *only)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((out / "check-serving.json").read_text())
    assert "unfinished" not in found
    answers, load = found["answers of the queue"], found["load at the shape of Llama 3.1 8B"]
    assert answers["rows"] >= 4 * 6 * 3  # tasks, notes of each, placements; long notes have parts
    assert answers["differing rows"] == 0
    assert 0 < answers["largest difference of log-probabilities of equal answers"] < 1e-3
    assert 1 < answers["rows written at a time, at most"]["device"] < answers["rows"]
    for clients, requests in ((1, 6), (4, 12)):
        own = load[f"queue, {clients} clients"]
        assert own["requests"] == requests
        assert own["share of answers equal to those of generate"] == 1.0
        assert own["tokens written a second"] == pytest.approx(4 * own["requests a second"])
        assert own["rows written at a time, at most"] <= clients
        assert own["median latency, seconds"] <= own["95th percentile of latency, seconds"]


def test_levels_are_saved_as_they_finish_and_none_starts_too_late(scripts):
    from queue_load import time_queue  # noqa: PLC0415 - from the folder of the scripts

    saved = []
    time_queue("cpu", float("inf"), lambda found: saved.append(list(found)), is_tiny=True)
    assert [len(names) - len(saved[0]) for names in saved] == [0, 1, 2]
    assert [names[-1] for names in saved[1:]] == ["queue, 1 clients", "queue, 4 clients"]
    late = time_queue("cpu", 0.0, lambda _: None, is_tiny=True)
    assert late["generate, one row at a time"]["requests"] == 1
    assert late["stopped"] == "before 1 clients: the time was over"
    assert not [name for name in late if name.startswith("queue")]


def test_what_a_stopped_check_has_found_is_shown_and_the_check_is_repeated(
    tmp_path, tiny_llama_folder
):
    """The worker is stopped after one second, before it has found anything itself."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "check-serving.json").write_text('{"unfinished": true, "checks": {}, "a level": 7}')
    options = ("--device", "cpu", "--only", "serving", "--seconds", "9")
    ended = _run_script("1_checks.py", tmp_path / "out", work, tiny_llama_folder, *options)
    assert ended.returncode == 1
    assert "serving: not finished" in ended.stdout
    assert "done before" not in ended.stdout
    assert '"a level": 7' in ended.stdout
    assert (tmp_path / "out" / "check-serving.json").is_file()


def test_rows_that_differ_on_another_model_are_named_and_are_no_ties(scripts, tiny_llama_folder):
    from devices import load, make_case  # noqa: PLC0415 - from the folder of the scripts
    from queue_answers import CHECK, compare_queues  # noqa: PLC0415

    settings = ('metaprompt=""', "prompt.length=4", 'prompt.placement="suffix"')
    case = make_case(scripts[0].SEARCH, [f'backbone="{tiny_llama_folder}"', *settings])
    case = replace(case, examples=case.examples[::6])
    cpu, other = (load(case, "cpu", "float32") for _ in range(2))
    with torch.no_grad():  # each token is taken for the next
        weight = other.model.get_output_embeddings().weight
        weight.copy_(weight.roll(1, dims=0))
    found = compare_queues(case, cpu, other, pause_seconds=0.001)
    assert found["checks"] == {CHECK: False}
    assert found["differing rows"] == len(found["differences"]) > found["of these ties"]
    assert {one["row"] for one in found["differences"]} <= {
        f"{task}, {placement}" for task in case.cards for placement in found["placements"]
    }


def test_gap_of_two_answers_is_that_of_the_logits_where_they_first_differ(scripts, tiny_llama):
    """Against a pass of the whole model over the input and what both have written."""
    from queue_answers import _gap  # noqa: PLC0415 - from the folder of the scripts

    row, ends = Row(0, (5, 9, 30, 31)), (2, 3)
    expected, longer, ended = (Ask(row, Bank(), limit=6, end_ids=ends) for _ in range(3))
    answer_all(tiny_llama, [expected])
    ids = expected.written.ids
    assert len(ids) == 6
    token = (ids[3] + 1) % 200 + 10
    longer.written.ids, ended.written.ids = [*ids[:3], token, 7, 7], ids[:3]
    with torch.inference_mode():
        logits = tiny_llama.model(torch.tensor([[*row.input_ids, *ids[:3]]])).logits[0, -1]
    own = float(logits[ids[3]])
    assert _gap(tiny_llama, expected, longer) == pytest.approx(own - float(logits[token]), abs=1e-4)
    best_end = float(logits[list(ends)].max())
    assert _gap(tiny_llama, expected, ended) == pytest.approx(own - best_end, abs=1e-4)
    one, two = (Ask(row, Bank(), choices=((5,), (6,), (7,))) for _ in range(2))
    one.scores, two.scores = [-1.0, -3.0, -1.5], [-1.5, -3.0, -1.0]
    assert _gap(tiny_llama, one, two) == 0.5


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
    """2 tasks x 16 trials in the search; 2 targets x 5 methods in each grid."""
    out = tmp_path / "out"
    counts = ("--prompt-processes", "2", "--lora-processes", "1")
    ended = _run_script("3_few_shots.py", out, tmp_path / "work", tiny_llama_folder, *counts)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = {"search": 32, "few-shots-16": 10, "few-shots": 10}
    assert {grid: len(_cells(out, grid)) for grid in counts} == counts
    for lane in ("prompts", "lora"):
        rates = json.loads((out / f"rates-{lane}.json").read_text())
        assert all(len(own["tasks"]) == 2 for own in rates.values())
    assert len(list(out.iterdir())) <= 9


@pytest.mark.slow
def test_full_data_is_compared_with_given_rates(tmp_path, tiny_llama_folder):
    """2 targets x 5 methods; nothing is searched where rates are given."""
    rates = tmp_path / "rates"
    rates.mkdir()
    methods = {
        "prompts": ("adapted-metaprompt", "prompt-tuning", "adapted-factors"),
        "lora": ("lora",),
    }
    settings = {
        "adapted-metaprompt": {"adapt.shared_rate": 0.02},
        "lora": {"baselines.lora_rate": 0.005},
    }
    for lane, own in methods.items():
        chosen = {one: {"settings": settings.get(one, {}), "tasks": []} for one in own}
        (rates / f"rates-{lane}.json").write_text(json.dumps(chosen))
    out, counts = tmp_path / "out", ("--prompt-processes", "1", "--lora-processes", "1")
    options = ("--rates", str(rates), *counts)
    ended = _run_script("4_full_data.py", out, tmp_path / "work", tiny_llama_folder, *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(_cells(out, "full-data")) == 10
    # The metaprompt alone has no examples.
    assert {cell["shots"] for cell in _cells(out, "full-data")} == {0, "all"}
    assert not (out / "cells-search.jsonl").exists()
    config = json.loads((tmp_path / "work" / "full-data-lora" / "config.json").read_text())
    assert config["baselines"]["lora_rate"] == 0.005


@pytest.mark.slow
def test_second_backbone_learns_a_metaprompt_and_compares_it(tmp_path, tiny_llama_folder):
    """2 targets x 5 methods, of which those of the metaprompt start from the one learned."""
    out, counts = tmp_path / "out", ("--prompt-processes", "1", "--lora-processes", "1")
    options = ("--search-seconds", "0", *counts)
    work = tmp_path / "work"
    ended = _run_script("5_second_backbone.py", out, work, tiny_llama_folder, *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(_cells(out, "second-backbone")) == 10
    learned = load_artifact(out / "metaprompt-0")
    config = json.loads((work / "second-backbone-prompts" / "config.json").read_text())
    assert config["metaprompt"] == str(work / "metaprompt-0")
    assert learned.manifest.settings["backbone"] == tiny_llama_folder.name
    # On another machine: the metaprompt and all cells are there from the start.
    state = ("--resume", str(out / "state.tar.gz"))
    again = _run_script(
        "5_second_backbone.py",
        tmp_path / "next",
        tmp_path / "other",
        tiny_llama_folder,
        *options,
        *state,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "metaprompt learned" not in again.stdout
    assert len(_cells(tmp_path / "next", "second-backbone")) == 10


def test_search_looks_at_no_target_and_at_nothing_that_the_metaprompt_has_seen(scripts):
    choice, grids = scripts
    held_back, suite = find_suite(str(FOLDER / "held-out.toml")), find_suite("shippable")
    assert held_back.sources == suite.sources
    assert not set(held_back.targets) & {*suite.sources, *suite.targets}
    search = load_config(choice.SEARCH)
    assert search.compare.targets == held_back.targets
    compared = {name for lane in grids.LANES.values() for name in lane.compared}
    for name in ("few-shots.toml", "full-data.toml"):
        config = load_config(grids.CONFIGS / name)
        assert compared == set(config.compare.methods)
        assert not set(config.compare.targets) & set(held_back.targets)


def test_full_data_has_the_targets_of_the_comparison_on_a_cpu(scripts):
    _, grids = scripts
    full, cpu = (load_config(grids.CONFIGS / f"{n}.toml") for n in ("full-data", "open21-cpu"))
    assert full.compare.targets == cpu.compare.targets
    assert full.adapt.validate_every > 0


def test_best_trial_has_the_lowest_mean_rank_and_unfinished_tasks_do_not_count(scripts):
    """Ranks of trials 1 to 4: on a 4, 3, 2, 1; on b 1, 2.5, 2.5, 4; on c 4, 2, 1, 3."""
    scores = {"a": (0.1, 0.2, 0.3, 0.4), "b": (0.9, 0.1, 0.1, 0.0), "c": (0.1, 0.5, 0.6, 0.2)}
    cells = [
        {"target": task, "method": f"lora@{number}", "value": value}
        for task, own in scores.items()
        for number, value in enumerate(own, start=1)
    ]
    unfinished = [{"target": "d", "method": "lora@1", "value": 1.0}]
    best = scripts[0].best_trial("lora", cells + unfinished)
    assert best["settings"] == {"baselines.lora_rate": 0.003}
    assert best["tasks"] == ["a", "b", "c"]
    assert best["mean ranks"]["lora@3"] == pytest.approx((2 + 2.5 + 1) / 3)


def test_without_a_finished_task_the_settings_of_the_config_stay(scripts):
    assert scripts[0].best_trial("lora", [])["settings"] == {}
