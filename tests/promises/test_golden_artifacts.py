"""Prompts that an earlier version saved are read, and give the answers that they gave then.

tests/golden/make.py made them. If a change of the code makes a test here fail, prompts of users
would fail too: change the code so that it reads both.
"""

import json
import sys
from pathlib import Path

import pytest
from command_line import call

from clinprompt.api import Annotator
from clinprompt.prompts.artifact import load_artifact

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPTS = sorted(path.parent for path in GOLDEN.glob("*/store/*/manifest.json"))
sys.path.insert(0, str(GOLDEN))
from make import notes_of  # noqa: E402 - after the path

sys.path.pop(0)


def test_every_form_of_prompt_is_among_them():
    found = [load_artifact(path).manifest for path in PROMPTS]
    assert {(one.kind, one.placement) for one in found} == {
        ("prompt", "prefix"),
        ("prompt", "suffix"),
        ("prompt", "layers"),
        ("factors", "prefix"),
    }
    assert {one.format for one in found} == {1}


@pytest.mark.usefixtures("random_models_list_mentions")
@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.name)
def test_a_saved_prompt_gives_the_answers_that_it_gave_when_it_was_saved(path):
    folder = path.parents[1]
    expected = json.loads((folder / "answers.json").read_text(encoding="utf-8"))[path.name]
    loaded = Annotator.load(path, backbone=str(folder / "model"), device="cpu")
    found = [one.to_dict() for one in loaded.predict(notes_of(loaded.loaded.card.name))]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert without_probabilities(one) == without_probabilities(other)
        assert probabilities(one) == pytest.approx(probabilities(other), abs=2e-3)


def without_probabilities(answer):
    kept = {name: value for name, value in answer.items() if name != "probability"}
    if "entities" in kept:
        kept["entities"] = [without_probabilities(one) for one in kept["entities"]]
    return kept


def probabilities(answer):
    if "entities" in answer:
        return [one["probability"] for one in answer["entities"]]
    return [answer["probability"]]


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.name)
def test_a_saved_prompt_is_verified_against_its_backbone(path):
    words = ("--backbone", path.parents[1] / "model")
    ended = call("prompts", "verify", path, *words, columns=300)
    assert ended.exit_code == 0, ended.stderr
    assert "undamaged" in ended.stdout
