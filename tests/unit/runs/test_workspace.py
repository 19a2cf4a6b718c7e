"""What a run records: its folder continues only with the settings and data it began with."""

import json
from dataclasses import replace

import pytest
from opened_run import manifest_in, open_run

from clinprompt.errors import RunError
from clinprompt.runs.folder import check_folder, check_is_run
from clinprompt.runs.workspace import load_run_backbone, open_workspace
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task


@pytest.fixture
def begin(tmp_path, tiny_llama_folder):
    def open_it(backbone=tiny_llama_folder, **values):
        settings = {"name": "x", "backbone": str(backbone), "device": "cpu", **values}
        return open_run(tmp_path / "run", check_config(settings, source="x"))

    return open_it


def test_a_run_continues_with_the_same_settings_and_more_cells(begin):
    begin()
    begin(compare={"shots": [4]})


def train_in(run):
    """Leave the log of a training step."""
    run.workspace.log.add("teachers/a", 1, {"loss": 1.0})
    return run


def test_nothing_is_locked_before_anything_is_trained(begin):
    """A run that failed early continues with mended settings, backbone and records."""
    begin()
    run = begin(seed=3)
    data = load_task(find_card("practice-ner-drugs"), None)
    run.workspace.record_tasks([data])
    (run.workspace.folder / "store" / "metaprompts" / "given").mkdir(parents=True)
    fewer = replace(data, splits={**data.splits, "train": data.splits["train"][1:]})
    run.workspace.record_tasks([fewer])
    train_in(run)
    with pytest.raises(RunError, match="changed since"):
        run.workspace.record_tasks([data])
    with pytest.raises(RunError, match="other settings: seed"):
        begin(seed=4)


def test_other_settings_are_refused_by_name(begin):
    train_in(begin())
    with pytest.raises(RunError, match="other settings: seed"):
        begin(seed=3)


@pytest.mark.parametrize(
    "name", ["quantize", "data.input_form", "distill.balance", "at_shots", "data", "distill"]
)
def test_a_folder_in_which_a_setting_is_missing_is_refused(begin, name):
    path = train_in(begin()).workspace.folder / "config.json"
    settings = json.loads(path.read_text())
    group, _, key = name.rpartition(".")
    del (settings[group] if group else settings)[key]
    path.write_text(json.dumps(settings))
    with pytest.raises(RunError, match=f"other settings: {name} is null there"):
        begin()


def test_the_cache_of_teachers_outputs_may_change(begin):
    """A full disk: the remedy that is advised must be taken in the same folder."""
    train_in(begin(distill={"steps": 9}))
    begin(distill={"steps": 9, "cache_teachers": False})
    with pytest.raises(RunError, match=r"other settings: distill."):
        begin(distill={"steps": 10, "cache_teachers": False})


def test_the_backbone_of_a_run_may_be_divided_over_processes_later(begin, tmp_path):
    config = train_in(begin()).config
    check_folder(
        tmp_path / "run",
        config.model_copy(update={"tensor_parallel": True}),
        results_folder=tmp_path / "run",
    )
    with pytest.raises(RunError, match="other settings"):
        check_folder(
            tmp_path / "run",
            config.model_copy(update={"tensor_parallel": True, "seed": 1}),
            results_folder=tmp_path / "run",
        )


def test_a_file_that_another_process_is_writing_does_not_block_the_folder(tmp_path):
    (tmp_path / ".config.json.123.part").touch()
    assert not check_is_run(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="not empty and not a run"):
        check_is_run(tmp_path)


def test_what_another_process_finished_is_not_forgotten(begin):
    one, other = begin(), begin()
    for run, name, content in (
        (one, "teachers/a", "hash of a"),
        (other, "metaprompt", "hash of m"),
    ):
        run.workspace.finish({name: content})
    assert begin().workspace.finished == {"teachers/a": "hash of a", "metaprompt": "hash of m"}


ONLY_CELLS = {"adapt": {"steps": 7}, "baselines": {"lora_rank": 2}}


def put(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()


def test_settings_of_cells_may_change_before_there_is_a_result(begin):
    workspace = begin().workspace
    for name in ("distill.safetensors", "teachers__a.safetensors", "teachers.cache"):
        put(workspace.folder, f"checkpoints/{name}")
    begin(**ONLY_CELLS)


@pytest.mark.parametrize("learned", ["store/sources", "checkpoints/lora-multitask.safetensors"])
def test_steps_on_targets_may_change_after_training_on_sources_but_not_its_shape(begin, learned):
    put(begin().workspace.folder, learned)
    begin(adapt=ONLY_CELLS["adapt"])
    with pytest.raises(RunError, match="other settings: baselines"):
        begin(**ONLY_CELLS)


@pytest.mark.parametrize(
    "result", ["cells.jsonl", "search.jsonl", "checkpoints/lora__a-k4.safetensors"]
)
@pytest.mark.parametrize("changed", ["adapt", "baselines"])
def test_settings_of_cells_stay_once_there_is_a_result(begin, result, changed):
    run = begin()
    put(run.workspace.folder, result)
    with pytest.raises(RunError, match=f"other settings: {changed}."):
        begin(**{changed: ONLY_CELLS[changed]})


@pytest.mark.parametrize(
    "result", ["cells.jsonl", "checkpoints/a__lora-k4-seed0.safetensors", "store/a/lora-k4-seed0"]
)
def test_settings_for_a_number_of_examples_stay_once_there_is_a_result_with_it(begin, result):
    run = begin(at_shots={"4": {"adapt": {"steps": 7}}})
    path = run.workspace.folder / result
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"shots": 4}\n{"shots": 0}\n' if result == "cells.jsonl" else "")
    begin(at_shots={"4": {"adapt": {"steps": 7}}, "all": {"adapt": {"steps": 9}}})
    for changed in ({}, {"4": {"adapt": {"steps": 8}}}):
        with pytest.raises(RunError, match="other settings: at_shots"):
            begin(at_shots=changed)


def test_other_settings_are_named_with_both_values(begin):
    run = begin(adapt={"steps": 7})
    put(run.workspace.folder, "cells.jsonl")
    words = r"other settings: adapt.steps is 7 there, and 8 here \(also seed\); give the settings"
    with pytest.raises(RunError, match=words):
        begin(adapt={"steps": 8}, seed=3)


def test_the_settings_of_an_adapted_prompt_with_its_number_of_examples_stay(begin):
    run = begin(at_shots={"4": {"adapt": {"steps": 7}}})
    prompt = run.workspace.folder / "store" / "mine" / "manifest.json"
    prompt.parent.mkdir(parents=True)
    prompt.write_text('{"shots": 4}')
    begin(at_shots={"4": {"adapt": {"steps": 7}}, "9": {"adapt": {"steps": 1}}})
    with pytest.raises(RunError, match=r"other settings: at_shots.4.adapt.steps is 7 there, and 8"):
        begin(at_shots={"4": {"adapt": {"steps": 8}}})


def test_an_adapted_prompt_in_the_store_is_a_result(begin):
    run = begin()
    (run.workspace.folder / "store" / "teachers" / "a").mkdir(parents=True)
    (run.workspace.folder / "store" / "metaprompts" / "b").mkdir(parents=True)
    begin(adapt={"steps": 7})
    (run.workspace.folder / "store" / "my-task").mkdir()
    with pytest.raises(RunError, match="other settings: adapt"):
        begin(adapt={"steps": 8})


def open_variant(folder, config, results_folder):
    backbone = load_run_backbone(folder, config, results_folder=results_folder)
    return open_workspace(folder, config, backbone, results_folder=results_folder)


def test_results_of_a_variant_are_in_the_folder_above(tmp_path, tiny_llama_folder):
    """Its folder has no results, but its settings may not change."""
    folder, above = tmp_path / "run" / "variants" / "small", tmp_path / "run"
    settings = {"name": "x", "backbone": str(tiny_llama_folder), "device": "cpu"}
    open_variant(folder, check_config(settings, source="x"), above)
    put(above, "cells.jsonl")
    changed = check_config({**settings, "adapt": {"steps": 7}}, source="x")
    with pytest.raises(RunError, match="other settings: adapt"):
        open_variant(folder, changed, above)


def test_another_backbone_under_the_same_path_is_refused(begin, tmp_path):
    run = train_in(begin())
    path = run.workspace.folder / "environment.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"backbone": "tensors:another"}))
    with pytest.raises(RunError, match="another backbone"):
        begin()


def test_changed_records_are_refused_and_new_tasks_are_not(begin):
    run = train_in(begin())
    data = load_task(find_card("practice-ner-drugs"), None)
    run.workspace.record_tasks([data])
    run.workspace.record_tasks([data, load_task(find_card("practice-nli-social"), None)])
    fewer = replace(data, splits={**data.splits, "train": data.splits["train"][1:]})
    words = r"run: practice-ner-drugs \(records of train\) changed since this run began"
    with pytest.raises(RunError, match=words):
        run.workspace.record_tasks([fewer])


def test_a_changed_card_is_answered_with_what_changed_and_a_free_folder(begin, tmp_path):
    run = train_in(begin())
    (tmp_path / "run-2").mkdir()
    data = load_task(find_card("practice-ner-drugs"), None)
    run.workspace.record_tasks([data])
    wording = data.card.wording.model_copy(update={"template": "{{ text }}\nDrugs:"})
    labels = {"DRUG": "medicine"}
    corrected = data.card.model_copy(update={"wording": wording, "labels": labels})
    with pytest.raises(RunError) as caught:
        run.workspace.record_tasks([replace(data, card=corrected)])
    folder = tmp_path / "run"
    assert str(caught.value) == (
        f"{folder}: practice-ner-drugs (labels.DRUG, wording.template, labels.drug) changed since "
        "this run began, and its results belong to the earlier version; train in a new folder "
        f"with --out {folder}-3 (in Python: folder), or delete {folder} first"
    )
    run.workspace.record_tasks([data])  # unchanged data is accepted after the refusal


@pytest.mark.parametrize("saved", ["0" * 64, 3, {"whole": "0" * 64}, {"whole": "0", "parts": []}])
def test_damaged_hashes_of_a_task_are_refused(begin, saved):
    run = begin()
    path = run.workspace.folder / "tasks.json"
    path.write_text(json.dumps({"practice-ner-drugs": saved}))
    with pytest.raises(RunError, match=r"tasks\.json: damaged"):
        run.workspace.record_tasks([load_task(find_card("practice-ner-drugs"), None)])


@pytest.mark.parametrize("name", ["config.json", "finished.json", "tasks.json"])
@pytest.mark.parametrize("content", ["{", "[1]", '"x"'])
def test_damaged_files_of_a_run_are_named(begin, name, content):
    run = begin()
    (run.workspace.folder / name).write_text(content)
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        begin().workspace.record_tasks([load_task(find_card("practice-ner-drugs"), None)])


def test_manifests_name_no_folder_of_this_machine(begin):
    manifest = manifest_in(begin(), "prompt", [find_card("practice-ner-drugs")])
    assert manifest.backbone == "tiny-llama"
    assert "/" not in manifest.settings["backbone"]


def test_manifests_of_a_relative_path_do_not_depend_on_the_working_directory(
    tiny_llama_folder, tmp_path, monkeypatch
):
    card = find_card("practice-ner-drugs")
    monkeypatch.chdir(tiny_llama_folder.parent)
    name = tiny_llama_folder.name
    settings = {"name": "x", "backbone": name, "device": "cpu", "compare": {"backbones": [name]}}
    config = check_config(settings, source="x")
    assert config.backbone == str(tiny_llama_folder)
    run = open_run(tmp_path / "run", config)
    here = manifest_in(run, "prompt", [card])
    monkeypatch.chdir(tmp_path)
    assert manifest_in(run, "prompt", [card]) == here
    assert here.backbone == name
    assert here.settings["compare"]["backbones"] == [name]


def test_phases_that_train_together_continue_only_with_their_settings(begin):
    workspace = begin().workspace
    first = workspace.phase_files(["a", "b"], settings=["rate 1", "rate 2"])
    assert (
        first.checkpoint
        == workspace.phase_files(["a", "b"], settings=["rate 1", "rate 2"]).checkpoint
    )
    assert (
        first.checkpoint
        != workspace.phase_files(["a", "b"], settings=["rate 1", "rate 3"]).checkpoint
    )
