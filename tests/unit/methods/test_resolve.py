"""What runs share is decided by the settings that change it."""

import json

import pytest
from made_metaprompt import ADAPT, save_metaprompt
from tiny import change_json

from clinprompt.errors import ArtifactError
from clinprompt.methods.resolve import resolve
from clinprompt.methods.same_training import same_metaprompt, same_on_sources, same_teachers
from clinprompt.settings.run import check_config

SUITE = """
name = "own"
title = "Sources and targets of practice"
sources = [{sources}]
targets = [{targets}]
"""
PLAIN = check_config({"name": "x"}, source="x")


@pytest.mark.parametrize("same", [same_teachers, same_metaprompt, same_on_sources])
@pytest.mark.parametrize("change", [{"constrained": False}, {"calibration": "off"}])
def test_how_answers_are_read_trains_nothing_again(same, change):
    assert same(PLAIN.changed({"data": change}, source="x"), PLAIN)


@pytest.mark.parametrize("same", [same_teachers, same_metaprompt, same_on_sources])
@pytest.mark.parametrize("change", [{"input_form": 1}, {"max_input_tokens": 64}])
def test_what_models_read_trains_everything_again(same, change):
    assert not same(PLAIN.changed({"data": change}, source="x"), PLAIN)


def test_a_suite_with_other_targets_removes_other_rows_so_its_teachers_are_trained_again(tmp_path):
    made = {
        "all": ('"practice-ner-labs", "practice-sum-plan"', '"practice-ner-drugs"'),
        "fewer sources": ('"practice-ner-labs"', '"practice-ner-drugs"'),
        "more targets": ('"practice-ner-labs"', '"practice-ner-drugs", "practice-nli-social"'),
    }
    runs = {}
    for name, (sources, targets) in made.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(SUITE.format(sources=sources, targets=targets))
        runs[name] = check_config({"name": "x", "suite": str(path)}, source="x")
    assert same_teachers(runs["fewer sources"], runs["all"])
    assert not same_teachers(runs["more targets"], runs["all"])


def test_a_setting_of_adaptation_that_this_version_does_not_know_is_refused(
    tmp_path, tiny_llama_folder
):
    folder = save_metaprompt(tmp_path / "m", tiny_llama_folder)
    values = {"name": "x", "backbone": str(tiny_llama_folder), "metaprompt": str(folder)}
    config = check_config({**values, "adapt": {"rows": 5}}, source="x")
    assert resolve(config).adapt.model_dump(include={"steps", "rows"}) == {
        "steps": ADAPT["steps"],
        "rows": 5,
    }
    path = folder / "manifest.json"
    settings = json.loads(path.read_text())["settings"]
    change_json(path, settings=settings | {"adapt": settings["adapt"] | {"gone": 1}})
    with pytest.raises(ArtifactError, match="this version does not know gone; use that version"):
        resolve(config)
