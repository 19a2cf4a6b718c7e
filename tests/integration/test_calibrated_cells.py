"""Cells of a comparison are calibrated if the settings say so, alone and in a team."""

import json

import pytest
from small_comparison import config_of, fill

METHODS = ("instruction", "adapted-metaprompt", "prompt-tuning")
DATA = {"max_input_tokens": 400, "max_target_tokens": 6, "train_rows": 6, "test_rows": 3}


def calibrations(folder, model, mode, together):
    """Return the calibration of every prompt that a comparison saved for a task, by its name."""
    data = {**DATA, "validation_rows": 2, "calibration": mode}
    compare = {"methods": METHODS, "shots": [2], "together": together}
    fill(folder / mode, config_of(folder, model, data=data, compare=compare))
    manifests = [json.loads(one.read_text()) for one in folder.rglob(f"{mode}/**/manifest.json")]
    return {one["name"]: one["calibration"] for one in manifests if one["method"] in METHODS}


@pytest.mark.parametrize("together", [1, 2])
def test_cells_of_labels_are_calibrated_if_that_is_on(tmp_path, tiny_llama_folder, together):
    found = calibrations(tmp_path, tiny_llama_folder, "on", together)
    assert len(found) == 4
    for name, means in found.items():
        assert set(means) == ({"yes", "no"} if "nli" in name else set())


def test_a_few_shots_leave_no_answers_to_decide_by(tmp_path, tiny_llama_folder):
    found = calibrations(tmp_path, tiny_llama_folder, "auto", 1)
    assert list(found.values()) == [{}] * 4
