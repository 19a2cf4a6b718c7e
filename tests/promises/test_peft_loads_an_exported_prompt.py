"""An exported prompt is a PEFT adapter that computes what clinprompt computes."""

import json

import torch
from peft import PeftModel
from tiny import random_prompts, random_rows
from transformers import AutoModelForCausalLM

from clinprompt.backbone.head import logits_of
from clinprompt.backbone.layers import prefix_from_layer_prompts, to_layer_prompts
from clinprompt.backbone.shared_prefix import read_prompts, read_text
from clinprompt.prompts.artifact import Manifest
from clinprompt.prompts.peft_export import export_peft


def manifest_of(fingerprint, **changes):
    """Return the manifest of a prompt of five positions, before the input unless changed."""
    values = {"kind": "prompt", "name": "mine", "method": "teacher", "backbone": "tiny"}
    shape = {"length": 5, "hidden_size": 32}
    return Manifest(fingerprint=fingerprint, **{**values, **shape, **changes})


def test_peft_gives_the_same_logits(tiny_llama, tiny_llama_folder, tmp_path):
    manifest = manifest_of(tiny_llama.fingerprint)
    [vectors] = random_prompts(1, 5)
    export_peft(
        tmp_path / "adapter", manifest, vectors, base=str(tiny_llama_folder), readme="# mine\n"
    )
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    prefix = read_prompts(tiny_llama.model, vectors[None])
    for row in random_rows([(1, 0), (7, 0), (20, 0)]):
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            expected = adapted(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            is_real = torch.ones_like(ids, dtype=torch.bool)
            hidden, _ = read_text(tiny_llama.model, ids, is_real, prefix)
            found = logits_of(tiny_llama.model, hidden)
        torch.testing.assert_close(found, expected[:, -ids.shape[1] :], rtol=1e-4, atol=1e-4)


def test_peft_gives_the_same_logits_with_a_prompt_in_all_layers(
    tiny_llama, tiny_llama_folder, tmp_path
):
    vectors = to_layer_prompts(tiny_llama.model, random_prompts(1, 5))[0]
    vectors += torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))
    shape = {"hidden_size": 2 * 2 * 2 * 8, "num_layers": 2, "num_heads": 2}
    manifest = manifest_of(tiny_llama.fingerprint, placement="layers", **shape)
    export_peft(
        tmp_path / "adapter", manifest, vectors, base=str(tiny_llama_folder), readme="# mine\n"
    )
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    prefix = prefix_from_layer_prompts(tiny_llama.model, vectors[None])
    ids = torch.tensor([random_rows([(9, 0)])[0].input_ids])
    with torch.no_grad():
        expected = adapted(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        hidden, _ = read_text(tiny_llama.model, ids, torch.ones_like(ids, dtype=torch.bool), prefix)
        found = logits_of(tiny_llama.model, hidden)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_adapter_names_its_base(tiny_llama_folder, tmp_path):
    manifest = manifest_of("tensors:1")
    export_peft(
        tmp_path / "adapter",
        manifest,
        random_prompts(1, 5)[0],
        base="some/model",
        readme="# mine\n",
    )
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/model"
    assert config["num_virtual_tokens"] == 5
