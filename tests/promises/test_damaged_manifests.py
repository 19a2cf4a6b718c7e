"""What a manifest says is checked before it is used; numbers that are none are refused."""

import json

import pytest
import torch
from made_store import save_prompt
from tiny import change_json

from clinprompt.errors import ArtifactError
from clinprompt.jobs.annotate import task_of
from clinprompt.prompts.artifact import load_artifact, make_artifact, save_artifact


@pytest.fixture
def prompt(tmp_path, tiny_llama_folder):
    return save_prompt(tmp_path / "store", tiny_llama_folder, "practice-ner-drugs")


WRONG = {
    "tasks": ([{"name": "x"}], [{"type": "ner", "name": None}], [1]),
    "settings": ({"data": [1]}, {"data": {"input_form": "x"}}, {"data": 1}, {"data": None}),
    "metaprompt": ("../../other", "ABC"),
    "content_hash": ("../x",),
    "calibration": ({"yes": "NaN"}, {"yes": 1e999}),
    "nothing_offset": (float("nan"), float("-inf")),
    "end_ids": (["x"], 1),
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, all_ in WRONG.items() for v in all_])
def test_a_wrong_entry_is_a_damaged_manifest(prompt, name, value):
    change_json(prompt / "manifest.json", **{name: value})
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged"):
        load_artifact(prompt)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [50, 100_000])
def test_a_manifest_that_is_nested_too_deeply_is_damaged(prompt, opened, depth):
    path = prompt / "manifest.json"
    nested = opened * depth + "1" + {"[": "]", '{"a":': "}"}[opened] * depth
    values = json.loads(path.read_text()) | {"settings": {"x": "HERE"}}
    path.write_text(json.dumps(values).replace('"HERE"', nested))
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged"):
        load_artifact(prompt)


def test_factors_of_several_tasks_are_a_damaged_manifest(prompt):
    tasks = json.loads((prompt / "manifest.json").read_text())["tasks"]
    both = [tasks[0], tasks[0] | {"type": "nli"}]
    change_json(prompt / "manifest.json", kind="factors", rank=1, tasks=both)
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged"):
        load_artifact(prompt)


@pytest.mark.parametrize("settings", [{}, {"data": {"no_such_setting": 1}}])
def test_settings_that_this_version_cannot_use_are_named(prompt, settings):
    change_json(prompt / "manifest.json", settings=settings)
    manifest = load_artifact(prompt).manifest
    with pytest.raises(ArtifactError, match=r"this version does not know (its task|no_such)"):
        task_of(prompt, manifest)


@pytest.mark.parametrize("settings", [{}, {"data": {}}])
def test_an_input_form_that_no_setting_names_is_not_guessed(prompt, settings):
    change_json(prompt / "manifest.json", settings=settings)
    with pytest.raises(ArtifactError, match=r"do not name data\.input_form"):
        assert load_artifact(prompt).manifest.input_form


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_vectors_with_numbers_that_are_none_are_refused(prompt, tmp_path, number):
    saved = load_artifact(prompt)
    vectors = saved.tensors["vectors"].clone()
    vectors[1, 2] = number
    save_artifact(tmp_path / "bad", make_artifact(saved.manifest, {"vectors": vectors}))
    with pytest.raises(ArtifactError, match="vectors has numbers that are infinite or not a num"):
        load_artifact(tmp_path / "bad")
    assert torch.isfinite(saved.tensors["vectors"]).all()
