"""Only one process at a time adapts, distills or tunes in the folder of a run."""

import signal
import subprocess
import sys
from functools import partial

import pytest
from made_metaprompt import save_metaprompt
from small_comparison import config_of, fill

from clinprompt import api
from clinprompt.errors import BackboneError, RunError, SettingError
from clinprompt.jobs.distill import distill_suite
from clinprompt.jobs.tune import tune_task
from clinprompt.runs.folder import alone_in
from clinprompt.training.progress import Silent

TASK = "practice-nli-social"
REFUSED = r"{}: another process works on this run; wait until it ends or stop it, then run the same"


@pytest.fixture
def jobs(tmp_path, tiny_llama_folder):
    """Return each job, ready to run in a folder."""
    config = config_of(tmp_path, tiny_llama_folder)
    metaprompt = save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    settings = {"backbone": str(tiny_llama_folder), "device": "cpu"}
    adapt = partial(api.adapt, TASK, shots=4, metaprompt=metaprompt, settings=settings)
    others = {"config": config, "mirror": None, "reporter": Silent()}
    return {
        "adapt": lambda folder: adapt(folder=folder).folder,
        "distill": lambda folder: distill_suite(folder, **others),
        "tune": lambda folder: tune_task(folder, TASK, **others),
    }


@pytest.mark.parametrize("name", ["adapt", "distill", "tune"])
def test_a_second_process_is_refused_and_harms_nothing(tmp_path, jobs, name):
    folder = tmp_path / "run"
    with alone_in(folder), pytest.raises(RunError, match=REFUSED.format(folder)):
        jobs[name](folder)
    assert not folder.exists(), "the first one wrote nothing, and the second one neither"
    assert (jobs[name](folder) / "manifest.json").is_file()
    with alone_in(folder), pytest.raises(RunError, match=REFUSED.format(folder)):
        jobs[name](folder)


def test_a_folder_that_holds_something_else_gets_no_lock(tmp_path, jobs):
    (tmp_path / "thesis.txt").touch()
    before = sorted(tmp_path.iterdir())
    for job in jobs.values():
        with pytest.raises(RunError, match="not empty and not a run"):
            job(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_job_that_cannot_begin_leaves_no_folder(tmp_path, jobs, tiny_llama_folder):
    with pytest.raises((BackboneError, SettingError)):
        api.adapt(
            TASK,
            shots=4,
            metaprompt=tmp_path / "metaprompt",
            folder=tmp_path / "run",
            settings={"backbone": str(tmp_path / "absent"), "device": "cpu"},
        )
    assert not (tmp_path / "run").exists()


_HOLDS_THE_FOLDER = """
import sys, time
from pathlib import Path
from clinprompt.runs.folder import alone_in
with alone_in(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_the_lock_ends_with_its_process(tmp_path, jobs):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", _HOLDS_THE_FOLDER, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(RunError, match=REFUSED.format(folder)):
            jobs["adapt"](folder)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert (jobs["adapt"](folder) / "manifest.json").is_file()


def test_a_comparison_shares_the_folder_of_a_distillation(tmp_path, tiny_llama_folder):
    """Both take the metaprompt that is there; neither is refused, as they share by claims."""
    grid = {"methods": ("instruction", "adapted-factors"), "shots": [2]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid)
    folder = tmp_path / "run"
    learned = distill_suite(folder, config, mirror=None, reporter=Silent())
    with alone_in(folder):
        assert fill(folder, config).num_missing == 0
    assert list((folder / "store" / "metaprompts").iterdir()) == [learned]
