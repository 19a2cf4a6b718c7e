"""Processes that torchrun started distill, adapt and tune together in the folder of one run."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from made_metaprompt import save_metaprompt
from safetensors.torch import load_file
from several_processes import in_processes
from small_comparison import config_of
from tiny import KillAfter, Killed

from clinprompt import api
from clinprompt.errors import RunError
from clinprompt.jobs.distill import distill_suite
from clinprompt.jobs.tune import tune_task
from clinprompt.runs.folder import alone_in
from clinprompt.training.progress import Silent
from clinprompt.training.runlog import RunLog

TASK = "practice-nli-social"
ROWS = {"train_rows": 6, "validation_rows": 2}
DATA = {"max_input_tokens": 400, "max_target_tokens": 6, **ROWS}
TOGETHER = {"steps": 3, "rows": 3, "warmup_steps": 1, "checkpoint_every": 2, "together": 2}


@pytest.fixture
def config(tmp_path, tiny_llama_folder):
    """Return the settings of two teachers that are trained side by side, and of a metaprompt."""
    distill = {"steps": 5, "rows": 3, "warmup_steps": 1, "checkpoint_every": 2, "validate_every": 2}
    return config_of(tmp_path, tiny_llama_folder, data=DATA, teacher=TOGETHER, distill=distill)


def prompts(folder):
    """Return all stored tensors of a run by name."""
    store = folder / "store"
    found = sorted(path for path in store.rglob("prompt.safetensors"))
    # A metaprompt's folder is named after its content.
    names = [path.parent.relative_to(store) for path in found]
    short = [name.parent if name.parts[0] == "metaprompts" else name for name in names]
    return {
        f"{name}/{key}": tensor
        for name, path in zip(short, found, strict=True)
        for key, tensor in load_file(path).items()
    }


def losses(folder):
    """Return the losses of all steps that count, by phase and step."""
    rows = RunLog(folder / "metrics.jsonl").rows()
    kinds = ("loss", "logits", "hidden", "task", "validation_loss")
    return {
        (row["phase"], row["step"], kind): row[kind]
        for row in rows
        for kind in kinds
        if kind in row
    }


def assert_same_run(folder, expected):
    own, other = losses(folder), losses(expected)
    assert own.keys() == other.keys()
    assert own == pytest.approx(other, rel=1e-4)
    ours, theirs = prompts(folder), prompts(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)


def distill(folder, config, reporter=None):
    return distill_suite(folder, config, mirror=None, reporter=reporter or Silent())


def test_two_processes_distill_what_one_distills(tmp_path, config):
    distill(tmp_path / "one", config)
    first, second = in_processes(2, lambda _: distill(tmp_path / "two", config))
    assert first.is_relative_to(tmp_path / "two")
    assert not second.is_relative_to(tmp_path)
    assert not second.exists(), "private copies are removed at the end"
    assert_same_run(tmp_path / "two", tmp_path / "one")
    about = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert about["processes"] == "2"
    left = {str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").iterdir()}
    assert left == {
        str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").iterdir()
    }


@pytest.mark.parametrize("steps", [2, 7])
@pytest.mark.parametrize("before", [1, 2])
def test_a_run_continues_with_another_number_of_processes(tmp_path, config, before, steps):
    """Steps 1 to 3 train both teachers, the others the metaprompt."""
    distill(tmp_path / "whole", config)
    folder = tmp_path / "run"
    stopped = in_processes(before, lambda _: distill(folder, config, KillAfter(steps)))
    assert all(isinstance(error, Killed) for error in stopped)
    found = in_processes(3 - before, lambda _: distill(folder, config))
    assert found[0].is_relative_to(folder)
    assert_same_run(folder, tmp_path / "whole")


def test_two_processes_adapt_what_one_adapts(tmp_path, tiny_llama_folder):
    metaprompt = save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    settings = {"backbone": str(tiny_llama_folder), "device": "cpu", "adapt.steps": 4}
    adapt = partial(api.adapt, TASK, shots=5, metaprompt=metaprompt, settings=settings)
    adapt(folder=tmp_path / "one")
    first, _ = in_processes(2, lambda _: str(adapt(folder=tmp_path / "two").folder))
    assert Path(first).is_relative_to(tmp_path / "two")
    assert_same_run(tmp_path / "two", tmp_path / "one")
    again = in_processes(2, lambda _: str(adapt(folder=tmp_path / "two").folder))
    assert again[0] == first, "what is finished is not trained again"


def test_two_processes_tune_what_one_tunes(tmp_path, config):
    tune = partial(tune_task, task=TASK, config=config, mirror=None, reporter=Silent())
    tune(tmp_path / "one")
    first, _ = in_processes(2, lambda _: tune(tmp_path / "two"))
    assert first.is_relative_to(tmp_path / "two")
    assert_same_run(tmp_path / "two", tmp_path / "one")


def test_another_command_in_the_folder_is_refused_by_all(tmp_path, config):
    with alone_in(tmp_path / "run"):
        first, second = in_processes(2, lambda _: distill(tmp_path / "run", config))
    assert "another process works on this run" in str(first)
    assert isinstance(second, RunError)


TOML = """
name = "tiny"
suite = {suite!r}
backbone = {backbone!r}
device = "cpu"
data = {{max_input_tokens = 400, max_target_tokens = 6, train_rows = 6, validation_rows = 2}}
prompt = {{length = 4}}
teacher = {{steps = 3, rows = 3, warmup_steps = 1, checkpoint_every = 2, together = 2}}
distill = {{steps = 5, rows = 3, warmup_steps = 1, checkpoint_every = 2, validate_every = 2}}
"""


def torchrun(folder, *words):
    """Run the command line in two processes."""
    started = [Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc-per-node", "2"]
    program = Path(sys.executable).with_name("clinprompt")
    return subprocess.run(
        [*map(str, started), "--no-python", str(program), *map(str, words)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_torchrun_starts_the_command_line(tmp_path, config, tiny_llama_folder):
    path = tmp_path / "tiny.toml"
    path.write_text(TOML.format(suite=config.suite, backbone=str(tiny_llama_folder)))
    ended = torchrun(tmp_path, "distill", path, "--out", "two")
    assert ended.returncode == 0, ended.stderr
    distill(tmp_path / "one", config)
    assert_same_run(tmp_path / "two", tmp_path / "one")
    [line] = [line for line in ended.stdout.splitlines() if line.startswith("metaprompt:")]
    assert line.startswith("metaprompt: two/store/metaprompts/")
    assert "distill: step 5 of 5" in ended.stdout
    assert ended.stdout.count("distill: step 5 of 5") == 1, "only the first process prints"
