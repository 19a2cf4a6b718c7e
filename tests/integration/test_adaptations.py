"""The command ``adapt`` and what it leaves behind, on a tiny model and a made-up metaprompt."""

import json
import re
from math import log

import pytest
import torch
from command_line import call
from made_metaprompt import save_metaprompt
from tiny import change_json

from clinprompt.api import Annotator
from clinprompt.errors import SettingError
from clinprompt.methods.resolve import resolve
from clinprompt.prompts.artifact import load_artifact, make_artifact, save_artifact
from clinprompt.prompts.decomposed import compose
from clinprompt.prompts.store import open_prompt
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.run import check_config

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


def test_a_prompt_is_scored_on_another_task_only_if_that_is_asked_for(adapt, on_tiny, tmp_path):
    adapt()
    words = ("evaluate", f"run/store/{TASK}", "--rows", 2, *on_tiny, "--task")
    for other, why in {
        "practice-ner-drugs": "type nli, answer label.* practice-ner-drugs is another .type ner",
        "practice-qa-choice": "type qa",
    }.items():
        ended = call(*words, other, folder=tmp_path, columns=200)
        assert ended.exit_code == 2
        assert re.search(why, ended.stderr), ended.stderr
        assert "--allow-other-task" in ended.stderr
        ended = call(*words, other, "--allow-other-task", folder=tmp_path, columns=200)
        assert ended.exit_code == 0, ended.stderr
    # Another data set with the same labels.
    ended = call(*words, "practice-nli-history", folder=tmp_path)
    assert ended.exit_code == 0, ended.stderr


def steps_logged(folder):
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return sum("loss" in json.loads(line) for line in lines)


def test_a_finished_adaptation_is_answered_at_once_unless_it_is_forced(adapt, tmp_path):
    adapt()
    assert steps_logged(tmp_path) == 3
    again = adapt()
    assert f"already adapted: run/store/{TASK} (--force" in again.stdout
    assert again.stdout.splitlines()[-3:] == [
        f"prompt: run/store/{TASK}",
        f"score it: clinprompt evaluate run/store/{TASK}",
        f"use it: clinprompt predict run/store/{TASK} NOTES ANSWERS.jsonl",
    ]
    assert steps_logged(tmp_path) == 3
    forced = adapt("--force")
    assert forced.exit_code == 0
    assert "already adapted" not in forced.stdout
    assert saved_in(tmp_path) == {TASK: ("adapted-metaprompt", 4)}
    assert steps_logged(tmp_path) == 6  # three steps, again


def test_the_card_of_a_folder_continues_the_run_of_the_folder(tmp_path, tiny_llama_folder):
    save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"a {n},{n % 2}\n" for n in range(60)))
    new = ("tasks", "new", "--type", "nli", "--from", "a.csv", "--text", "text")
    assert call(*new, "--out", "my-task", folder=tmp_path).exit_code == 0
    given = ("--metaprompt", "metaprompt", "--shots", 2, "--set", "device=cpu")
    given = (*given, "--set", f"backbone={tiny_llama_folder}")
    for task in ("my-task/", "my-task/card.toml", "./my-task"):
        ended = call("adapt", task, *given, folder=tmp_path, columns=200)
        assert ended.exit_code == 0, ended.stderr
        score = ended.stdout.splitlines()[-2]
        assert (
            score == f"score it: clinprompt evaluate runs/adapt-my-task/store/my-task --task {task}"
        )
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["adapt-my-task"]


def test_a_store_that_does_not_exist_is_refused(tmp_path):
    ended = call("prompts", "list", "nope", folder=tmp_path)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "nope: no such folder; name a store" in ended.stderr


def test_prompts_are_listed_by_method_examples_and_score(adapt, tmp_path):
    adapt()
    adapt("--factors-only", shots=0)
    store = tmp_path / "run" / "store"
    change_json(store / TASK / "manifest.json", scores={"f1": 0.5, "low": 0.25, "high": 0.75})
    ended = call("prompts", "list", "run/store", folder=tmp_path, columns=120)
    assert ended.exit_code == 0, ended.stderr
    lines = [line.strip() for line in ended.stdout.splitlines()]
    assert [line.split() for line in lines if line.startswith("practice")] == [
        [TASK, "adapted-metaprompt", "4", "f1", "0.500", "[0.250,", "0.750]"],
        [f"{TASK}-factors", "metaprompt", "0"],
    ]
    [metaprompt] = [path.name for path in (store / "metaprompts").iterdir()]
    assert lines[-1] == f"metaprompt: run/store/metaprompts/{metaprompt}"
    listed = json.loads(call("prompts", "list", "run/store", "--json", folder=tmp_path).stdout)
    assert [one["shots"] for one in listed if one["name"] == TASK] == [4]


def test_adapt_says_what_it_does_after_the_last_step(adapt):
    lines = [line for line in adapt().stdout.splitlines() if line]
    last_step = max(number for number, line in enumerate(lines) if ": step " in line)
    after = lines[last_step + 1 :]
    assert after[:2] == [
        f"{TASK}: calibration: read 64 training records, without their answers",
        f"{TASK}: calibration: answer 32 validation records with and without it",
    ]
    assert after[2] in (f"{TASK}: calibration: used", f"{TASK}: calibration: not used")
    assert after[3].startswith("prompt: ")


def test_evaluate_says_what_it_does_but_not_on_standard_output(adapt, on_tiny, tmp_path):
    adapt()
    ended = call("evaluate", f"run/store/{TASK}", "--rows", 2, *on_tiny, folder=tmp_path)
    assert f"{TASK}: answer 2 test records\n" in ended.stderr
    assert "test records" not in ended.stdout


def test_evaluate_saves_the_score_that_prompts_list_shows(adapt, on_tiny, tmp_path):
    adapt("--factors-only")
    folder = tmp_path / "run" / "store" / f"{TASK}-factors"
    before = load_artifact(folder)

    def scores(*words):
        ended = call("evaluate", folder, *on_tiny, *words, "--json", folder=tmp_path)
        assert ended.exit_code == 0, ended.stderr
        return json.loads(ended.stdout), load_artifact(folder).manifest.scores

    assert scores("--rows", 2)[1] == {}  # fewer than evaluate takes by default
    cell, saved = scores()
    assert saved == {cell["metric"]: cell["value"], "low": cell["low"], "high": cell["high"]}
    assert load_artifact(folder).manifest == before.manifest.model_copy(update={"scores": saved})
    listed = call("prompts", "list", "run/store", folder=tmp_path, columns=120).stdout
    assert f"{cell['metric']} {cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]" in listed
    change_json(folder / "manifest.json", scores={"kept": 0.5})
    assert scores("--rows", 2)[1] == {"kept": 0.5}
    assert scores("--task", "practice-nli-history", "--allow-other-task")[1] == {"kept": 0.5}


def test_a_prompt_in_a_folder_that_cannot_be_written_is_evaluated(
    adapt, on_tiny, tmp_path, monkeypatch
):
    adapt()
    folder = tmp_path / "run" / "store" / TASK
    manifest = (folder / "manifest.json").read_bytes()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", refuse)
        ended = call("evaluate", folder, *on_tiny, folder=tmp_path, columns=200)
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout.startswith(f"{TASK}: 0.")
    assert (folder / "manifest.json").read_bytes() == manifest
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "prompt.safetensors"]


def test_a_score_is_not_saved_with_a_prompt_that_was_replaced_meanwhile(
    adapt, tmp_path, tiny_llama_folder
):
    adapt()
    folder = tmp_path / "run" / "store" / TASK
    annotator = Annotator.load(folder, backbone=str(tiny_llama_folder), device="cpu")
    old = load_artifact(folder)
    other = make_artifact(old.manifest, {"vectors": old.tensors["vectors"] + 1})
    save_artifact(folder, other)
    annotator.evaluate()
    assert load_artifact(folder).manifest == other.manifest


@pytest.mark.parametrize(("words", "kind"), [((), "prompt"), (("--factors-only",), "factors")])
def test_zero_shots_save_the_untrained_start(adapt, on_tiny, tmp_path, words, kind):
    ended = adapt(*words, shots=0)
    assert ended.exit_code == 0, ended.stderr
    folder = tmp_path / "run" / "store" / (TASK if kind == "prompt" else f"{TASK}-factors")
    artifact, vectors = open_prompt(folder)
    assert (artifact.manifest.kind, artifact.manifest.method) == (kind, "metaprompt")
    given = load_artifact(tmp_path / "metaprompt").tensors
    # practice-nli-history, the second source, is the only one of the task's type.
    assert torch.equal(vectors, compose(given["shared"], given["u"][1:], given["v"][1:])[0])
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    ended = call("evaluate", folder, "--rows", 2, *on_tiny, folder=tmp_path, columns=200)
    assert "; metaprompt)" in ended.stdout
    (tmp_path / "notes.jsonl").write_text('{"text": "Smokes.", "statement": "He smokes."}\n')
    ended = call("predict", folder, "notes.jsonl", "a.jsonl", *on_tiny, folder=tmp_path)
    assert ended.exit_code == 0, ended.stderr


CARD = """
name = "own"
type = "nli"
answer = "label"
title = "Own"
metric = "accuracy"
source = { repository = "own", license = "own" }
reader = { name = "jsonl", row = { fields = { text = "text" }, label = "label" } }
files = { train = ["train.jsonl"], test = ["test.jsonl"] }
labels = { a = "yes", b = "no" }
wording = { version = 1, template = "{{ text }}:", instruction = "Answer." }
"""


def write_own(folder, *, train, test):
    """Write a task folder whose texts are numbers."""
    folder.mkdir(exist_ok=True)
    (folder / "card.toml").write_text(CARD)
    for name, numbers in {"train": train, "test": test}.items():
        rows = [{"text": f"Note {n}.", "label": "ab"[n % 2]} for n in numbers]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_training_records_that_are_test_records_are_counted(adapt, tmp_path):
    write_own(tmp_path / "own", train=range(6), test=(0, 1, 9))
    ended = adapt(task="own/")
    assert ended.exit_code == 0, ended.stderr
    assert "own: 2 training records left out, with the text of a test record" in ended.stdout


@pytest.mark.parametrize("form", [1, 2])
def test_adapt_says_if_the_instruction_of_the_users_card_is_not_read(
    adapt, tmp_path, tiny_llama_folder, form
):
    save_metaprompt(tmp_path / "other", tiny_llama_folder, input_form=form)
    write_own(tmp_path / "own", train=range(6), test=(7, 8, 9))
    ended = adapt(task="own/", metaprompt="other")
    assert ended.exit_code == 0, ended.stderr
    said = "own: the model does not read the instruction of the card, because the metaprompt was"
    assert (said in ended.stdout) == (form == 1)
    assert said not in adapt("--out", "catalog", metaprompt="other").stdout


def test_too_few_records_after_leaving_out_test_records_name_that_cause(adapt, tmp_path):
    for train, count in ((range(4), "0 training rows"), (range(5), "1 training row")):
        write_own(tmp_path / "own", train=train, test=range(4))
        ended = adapt(task="own/")
        assert ended.exit_code == 2
        assert f"4 examples wanted, but only {count} can be used" in ended.stderr
        assert "4 training records have the text of a test record" in ended.stderr
        assert "put equal texts into one split" in ended.stderr
        assert "max_target_tokens" not in ended.stderr


def test_progress_is_printed_if_the_output_is_no_terminal(adapt):
    lines = [line for line in adapt().stdout.splitlines() if ": step " in line]
    assert all(line.startswith(f"{TASK}: step ") for line in lines)  # without a hash
    assert all(re.search(r", about \d+ s left$", line) for line in lines[:2])
    assert "left" not in lines[2]
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "step 1 of 3",
        "step 2 of 3",
        "step 3 of 3",
    ]
    assert all("loss" in line and "tok/s" in line for line in lines)


SUITE = 'name = "mine"\ntitle = "Mine"\ntargets = ["practice-nli-social"]\n'


def test_a_given_metaprompt_brings_its_settings_of_adaptation(tmp_path, tiny_llama_folder):
    own = {"steps": 7, "rows": 3, "warmup_steps": 2, "shared_rate": 0.5}
    folder = save_metaprompt(tmp_path / "m", tiny_llama_folder, adapt=own)
    values = {"name": "x", "metaprompt": str(folder), "backbone": str(tiny_llama_folder)}
    values |= {"adapt": {"rows": 5}, "variants": {"long": {"adapt": {"steps": 9}}}}
    config = check_config(values, source="test")
    found = resolve(config).adapt
    assert (found.steps, found.rows, found.warmup_steps, found.shared_rate) == (7, 5, 2, 0.5)
    varied = resolve(config, variant="long").adapt
    assert (varied.steps, varied.rows, varied.warmup_steps, varied.shared_rate) == (9, 5, 2, 0.5)


def test_a_suite_without_sources_needs_a_given_metaprompt(tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    name, data = str(tmp_path / "mine.toml"), check_config({"name": "x"}, source="test").data
    [target] = load_suite(name, data, None, with_sources=False).targets
    assert target.card.name == TASK
    with pytest.raises(SettingError, match=r"suite mine has no sources.*metaprompt = 'shipped'"):
        load_suite(name, data, None)


@pytest.mark.usefixtures("smollm2")
def test_the_check_of_a_task_counts_training_records_that_are_test_records(tmp_path):
    write_own(tmp_path / "own", train=range(6), test=(0, 1, 9))
    ended = call("tasks", "check", "own/", folder=tmp_path, columns=200)
    assert "own: 2 training rows are left out, with the text of a test row" in ended.stdout


def test_a_calibration_is_saved_and_used_and_older_prompts_have_none(adapt, on_tiny, tmp_path):
    ended = adapt("--set", "data.calibration=on")
    assert ended.exit_code == 0, ended.stderr
    path = tmp_path / "run" / "store" / TASK / "manifest.json"
    manifest = json.loads(path.read_text())
    assert set(manifest["calibration"]) == {"yes", "no"}
    (tmp_path / "notes.jsonl").write_text('{"text": "Smokes.", "statement": "He smokes."}\n')
    odds = {}
    for name in ("calibrated", "plain"):
        words = ("predict", f"run/store/{TASK}", "notes.jsonl", f"{name}.jsonl", *on_tiny)
        ended = call(*words, folder=tmp_path)
        assert ended.exit_code == 0, ended.stderr
        [answer] = map(json.loads, (tmp_path / f"{name}.jsonl").read_text().splitlines())
        probability = answer["probability"]
        yes = probability if answer["label"] == "entailment" else 1 - probability
        odds[name] = log(yes / (1 - yes))
        path.write_text(json.dumps({k: v for k, v in manifest.items() if k != "calibration"}))
    shift = manifest["calibration"]["no"] - manifest["calibration"]["yes"]
    assert abs(shift) > 0.01
    assert odds["calibrated"] - odds["plain"] == pytest.approx(shift, abs=0.02)


def test_a_prompt_is_not_scored_on_its_task_with_other_splits(adapt, on_tiny, tmp_path):
    lines = [
        {"text": f"Takes iron {number} times.", "entities": [{"start": 6, "end": 10, "label": "D"}]}
        for number in range(30)
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ended = call("tasks", "new", "--type", "ner", "--from", "notes.jsonl", folder=tmp_path)
    assert "adapt notes --shots 18" in ended.stdout
    assert adapt(task="notes").exit_code == 0
    words = ("evaluate", "run/store/notes", *on_tiny, "--task", "notes")
    ended = call(*words, "--json", folder=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    assert "trained_numbers" not in json.loads(ended.stdout)
    card = tmp_path / "notes" / "card.toml"
    card.write_text(re.sub(r"(?m)^test = .*$", "test = 0.7", card.read_text()))
    ended = call(*words, folder=tmp_path, columns=300)
    assert ended.exit_code == 2
    assert "notes: resplit of its card changed since the prompt was trained" in ended.stderr
