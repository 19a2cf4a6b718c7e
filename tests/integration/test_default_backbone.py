"""The default backbone really comes out of its wheel."""

import importlib.metadata

import pytest
import torch

from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.stored import INSTALL_DEFAULT
from clinprompt.errors import BackboneError


def test_default_backbone_is_the_published_model(smollm2):
    """SmolLM2-135M: 30 layers, H = 576, V = 49,152, 134.5 million numbers with tied embeddings."""
    assert (smollm2.model.config.num_hidden_layers, smollm2.hidden_size) == (30, 576)
    assert smollm2.embeddings.shape == (49152, 576)
    assert smollm2.num_parameters == 134_515_008
    assert not any(p.requires_grad for p in smollm2.model.parameters())


def test_default_backbone_speaks_english(smollm2):
    ids = smollm2.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        best = int(smollm2.model(ids).logits[0, -1].argmax())
    assert smollm2.tokenizer.decode([best]).strip() == "Paris"


def test_answers_end_where_the_model_ends_its_own(smollm2):
    """Not every transformers takes this from the file: 5.17 ends answers with <|im_start|>."""
    assert smollm2.tokenizer.eos_token == "<|im_end|>"
    assert smollm2.end_ids == {smollm2.tokenizer.eos_token_id}


def test_default_backbone_loads_again_from_its_cache(smollm2):
    again = load_backbone("smollm2-135m", device="cpu")
    assert again.fingerprint == smollm2.fingerprint
    assert again.fingerprint.startswith("gguf:")
    assert torch.equal(again.embeddings, smollm2.embeddings)


def test_missing_wheel_gives_the_install_command(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(BackboneError, match="not installed") as caught:
        load_backbone("smollm2-135m")
    assert INSTALL_DEFAULT in str(caught.value)
