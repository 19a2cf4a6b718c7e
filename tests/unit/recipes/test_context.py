"""What a run remembers: its folder goes on only with what it began with."""

import json
from dataclasses import replace

import pytest

from clinprompt.config import check_config
from clinprompt.errors import RunError
from clinprompt.recipes.context import open_run
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task


@pytest.fixture
def begin(tmp_path, tiny_llama_folder):
    def open_it(backbone=tiny_llama_folder, **values):
        settings = {"name": "x", "backbone": str(backbone), "device": "cpu", **values}
        return open_run(tmp_path / "run", check_config(settings, source="x"))

    return open_it


def test_a_run_goes_on_with_the_same_settings_and_more_cells(begin):
    begin()
    begin(compare={"shots": [4]})


def test_other_settings_are_refused_by_name(begin):
    begin()
    with pytest.raises(RunError, match=r"other settings \(seed\)"):
        begin(seed=3)


def test_another_backbone_under_the_same_path_is_refused(begin, tmp_path):
    run = begin()
    path = run.folder / "environment.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"backbone": "tensors:another"}))
    with pytest.raises(RunError, match="another backbone"):
        begin()


def test_changed_records_are_refused_and_new_tasks_are_not(begin):
    run = begin()
    data = load_task(find_card("practice-ner-drugs"), None)
    run.claim([data])
    run.claim([data, load_task(find_card("practice-nli-social"), None)])
    fewer = replace(data, splits={**data.splits, "train": data.splits["train"][1:]})
    with pytest.raises(RunError, match="practice-ner-drugs have changed"):
        run.claim([fewer])


@pytest.mark.parametrize("name", ["config.json", "finished.json", "tasks.json"])
@pytest.mark.parametrize("content", ["{", "[1]", '"x"'])
def test_damaged_files_of_a_run_are_named(begin, name, content):
    run = begin()
    (run.folder / name).write_text(content)
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        begin().claim([load_task(find_card("practice-ner-drugs"), None)])


def test_manifests_name_no_folder_of_this_machine(begin):
    manifest = begin().manifest("prompt", "n", "m", [find_card("practice-ner-drugs")])
    assert manifest.backbone == "tiny-llama"
    assert "/" not in manifest.settings["backbone"]
