"""The settings of a run with a given metaprompt."""

import json

import pytest
from made_metaprompt import ADAPT, save_metaprompt
from tiny import change_json

from clinprompt.errors import ArtifactError
from clinprompt.methods.resolve import resolve
from clinprompt.settings.run import check_config


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
