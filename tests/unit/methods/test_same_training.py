"""What runs share is decided by the settings that change it."""

import pytest

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
