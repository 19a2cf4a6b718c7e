"""Answers are computed in the type that the user names, or in one that fits the device."""

import pytest
import torch

from clinprompt.backbone.load import load_backbone_of
from clinprompt.errors import SettingError
from clinprompt.prompts.artifact import Manifest


@pytest.fixture
def load(tiny_llama_folder):
    """Return the type in which the backbone of a prompt trained in bfloat16 is loaded."""

    def loaded(**options):
        shape = {"length": 2, "hidden_size": 3}
        names = {"kind": "prompt", "name": "mine", "method": "made", "backbone": "some/model"}
        settings = {"dtype": "bfloat16"}
        manifest = Manifest(fingerprint="tensors:0", settings=settings, **names, **shape)
        return load_backbone_of(manifest, str(tiny_llama_folder), **options).model.dtype

    return loaded


def test_without_a_word_it_is_float32_on_a_cpu_and_elsewhere_that_of_the_training(load):
    assert load(device="cpu") == torch.float32
    assert load(device="meta") == torch.bfloat16


def test_a_named_type_holds_on_every_device(load):
    assert load(device="cpu", dtype="bfloat16") == torch.bfloat16
    assert load(device="meta", dtype="float32") == torch.float32


def test_other_types_are_refused_with_those_that_there_are(load):
    with pytest.raises(SettingError, match=r"dtype 'half'; use auto, float32 or bfloat16$"):
        load(device="cpu", dtype="half")
