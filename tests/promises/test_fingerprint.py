"""The fingerprint names the stored checkpoint, whatever it is loaded as."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import change_json, save_tiny

from clinprompt.backbone.load import load_backbone


def fingerprint(folder, **options):
    return load_backbone(str(folder), device="cpu", **options).fingerprint


@pytest.fixture
def copied(tiny_llama_folder, tmp_path):
    return shutil.copytree(tiny_llama_folder, tmp_path / "copy")


def test_bfloat16_and_float32_are_the_same_backbone(tiny_llama_folder, tiny_llama):
    loaded = load_backbone(str(tiny_llama_folder), device="cpu", dtype=torch.bfloat16)
    assert loaded.embeddings.dtype == torch.bfloat16
    assert loaded.fingerprint == tiny_llama.fingerprint
    assert loaded.fingerprint.startswith("tensors:")


def test_a_copy_elsewhere_is_the_same_backbone(copied, tiny_llama):
    assert fingerprint(copied) == tiny_llama.fingerprint


def test_saving_the_same_model_again_gives_the_same_backbone(tmp_path, tiny_llama):
    assert fingerprint(save_tiny(tmp_path / "again", "llama")) == tiny_llama.fingerprint


def test_fields_that_a_newer_transformers_writes_do_not_change_the_fingerprint(copied, tiny_llama):
    change_json(copied / "config.json", transformers_version="99.0", dtype="float32")
    assert fingerprint(copied) == tiny_llama.fingerprint


def test_one_changed_weight_is_another_backbone(copied, tiny_llama):
    tensors = load_file(copied / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(copied) != tiny_llama.fingerprint


def test_a_changed_tokenizer_is_another_backbone(copied, tiny_llama):
    path = copied / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"].update(
        {"A": content["model"]["vocab"]["B"], "B": content["model"]["vocab"]["A"]}
    )
    path.write_text(json.dumps(content))
    assert fingerprint(copied) != tiny_llama.fingerprint


def test_a_changed_end_token_is_another_backbone(copied, tiny_llama):
    """Prompts are trained to end every answer with this token."""
    change_json(copied / "tokenizer_config.json", eos_token="<|im_start|>")
    assert fingerprint(copied) != tiny_llama.fingerprint


def test_a_changed_config_is_another_backbone(copied, tiny_llama):
    change_json(copied / "config.json", rms_norm_eps=0.5)
    assert fingerprint(copied) != tiny_llama.fingerprint


def test_a_file_changed_in_place_is_noticed_although_digests_are_cached(copied):
    before = fingerprint(copied)
    path = copied / "model.safetensors"
    stat = path.stat()
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert path.stat().st_size == stat.st_size
    assert fingerprint(copied) != before


def test_a_half_written_digest_is_ignored(copied, monkeypatch, tmp_path):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    before = fingerprint(copied)
    for remembered in (tmp_path / "cache").rglob("digests/*"):
        remembered.write_text("")
    assert fingerprint(copied) == before
