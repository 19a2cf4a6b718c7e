"""A wrong device is named, not taken for a missing backbone."""

import pytest
import torch

from clinprompt.backbone.load import load_backbone, load_backbone_of
from clinprompt.errors import BackboneError
from clinprompt.prompts.artifact import Manifest


def test_a_wrong_device_is_named_if_the_backbone_is_not_found_either():
    shape = {"length": 2, "hidden_size": 3}
    names = {"kind": "prompt", "name": "mine", "method": "made", "backbone": "some/model"}
    manifest = Manifest(fingerprint="tensors:0", **names, **shape)
    with pytest.raises(BackboneError, match="device 'bogus' is not available"):
        load_backbone_of(manifest, device="bogus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPUs")
def test_each_process_of_torchrun_takes_its_own_gpu(tiny_llama_folder, monkeypatch):
    numbers = {"RANK": 5, "LOCAL_RANK": 1, "WORLD_SIZE": 8, "MASTER_PORT": 29500}
    for name, value in {**numbers, "MASTER_ADDR": "host"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(BackboneError, match=r"'cuda:1' is not available; start at most one proces"):
        load_backbone(str(tiny_llama_folder), device="cuda")
    assert load_backbone(str(tiny_llama_folder), device="auto").device.type == "cpu"
