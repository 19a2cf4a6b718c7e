"""The command ``adapt`` and what it leaves behind, on a tiny model and a made-up metaprompt."""

import json

import pytest
from command_line import call
from made_metaprompt import save_metaprompt

TASK = "practice-nli-social"


@pytest.fixture
def adapt(tmp_path, tiny_llama_folder):
    """Return a function that runs ``clinprompt adapt`` in a folder of its own."""
    save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)

    def run(*words, task=TASK, shots=4, metaprompt="metaprompt"):
        given = ("--metaprompt", metaprompt, "--set", f"backbone={tiny_llama_folder}")
        on = ("--set", "device=cpu", "--shots", shots, "--out", "run")
        return call("adapt", task, *given, *on, *words, folder=tmp_path, columns=200)

    return run


@pytest.fixture
def on_tiny(tiny_llama_folder):
    return ("--backbone", tiny_llama_folder, "--device", "cpu")


def saved_in(folder):
    """Return method and number of shots of each prompt of a run by its name."""
    store = folder / "run" / "store"
    found = {path.parent: json.loads(path.read_text()) for path in store.glob("*/manifest.json")}
    return {path.name: (one["method"], one["shots"]) for path, one in found.items()}


def test_adaptations_of_one_task_in_one_folder_all_stay(adapt, tmp_path, tiny_llama_folder):
    for words in ({}, {"shots": 6}):
        assert adapt(**words).exit_code == 0
    assert "run/store/practice-nli-social-factors\n" in adapt("--factors-only").stdout
    save_metaprompt(tmp_path / "other", tiny_llama_folder, seed=6)
    ended = adapt(metaprompt="other", shots=6)
    assert ended.exit_code == 0, ended.stderr
    found = saved_in(tmp_path)
    [last] = set(found) - {TASK, f"{TASK}-k6", f"{TASK}-factors"}
    assert last.startswith(f"{TASK}-k6-")
    assert found == {
        TASK: ("adapted-metaprompt", 4),
        f"{TASK}-k6": ("adapted-metaprompt", 6),
        f"{TASK}-factors": ("adapted-factors", 4),
        last: ("adapted-metaprompt", 6),
    }


def test_evaluate_and_predict_say_which_prompt_they_used(adapt, on_tiny, tmp_path):
    adapt("--factors-only")
    saved = f"run/store/{TASK}-factors"
    ended = call("evaluate", saved, "--rows", 2, *on_tiny, folder=tmp_path, columns=200)
    assert "; adapted-factors, 4 training examples)" in ended.stdout
    (tmp_path / "notes.jsonl").write_text('{"text": "Smokes.", "statement": "He smokes."}\n')
    ended = call("predict", saved, "notes.jsonl", "a.jsonl", *on_tiny, folder=tmp_path)
    assert f"{TASK} (adapted-factors, 4 training examples): a.jsonl" in ended.stdout
