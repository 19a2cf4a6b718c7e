"""A backbone loads frozen, or one sentence says why it does not."""

import re
import shutil

import pytest
from tiny import change_json

from clinprompt.backbone.load import load_backbone
from clinprompt.errors import BackboneError


@pytest.fixture
def copied(tiny_llama_folder, tmp_path):
    return shutil.copytree(tiny_llama_folder, tmp_path / "copy")


def refuse(name, words, **options):
    with pytest.raises(BackboneError, match=words):
        load_backbone(str(name), **{"device": "cpu", **options})


def test_a_backbone_is_frozen_and_in_evaluation_mode(backbone):
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert backbone.hidden_size == 32
    assert backbone.embeddings.shape == (264, 32)
    assert backbone.num_parameters == sum(p.numel() for p in backbone.model.parameters())
    assert backbone.pad_id == 258


def test_an_unknown_name_is_refused_with_a_hint():
    refuse("smollm2-135n", "unknown backbone 'smollm2-135n': did you mean smollm2-135m")


def test_a_folder_without_a_model_is_refused(tmp_path):
    refuse(tmp_path, r"config\.json is missing")


def test_a_folder_without_safetensors_is_refused(copied):
    (copied / "model.safetensors").unlink()
    refuse(copied, "save the model as safetensors")


@pytest.mark.parametrize("kept", [0, 20, 5000, -1])
def test_truncated_weights_are_refused(copied, kept):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refuse(copied, f"backbone {re.escape(str(copied))}: cannot be loaded")


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_config_is_refused(copied, content):
    (copied / "config.json").write_text(content)
    refuse(copied, f"backbone {re.escape(str(copied))}")


def test_weights_without_one_layer_are_refused(copied):
    """Transformers only warns and draws random weights in their place."""
    change_json(copied / "config.json", num_hidden_layers=3)
    refuse(copied, "cannot be loaded")


def test_an_unavailable_device_is_refused(tiny_llama_folder):
    refuse(tiny_llama_folder, "device 'tpu9' is not available", device="tpu9")
