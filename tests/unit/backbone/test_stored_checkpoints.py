"""Checkpoints load and train as people have them: in shards, without a pad token, in MXFP4."""

import json
import shutil

import pytest
import torch
from mxfp4 import pack, quantize_experts, unpack
from safetensors.torch import load_file, save_file
from tiny import byte_tokenizer, change_json, place_in, random_prompts, random_rows, save_tiny
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, Qwen3NextConfig

from clinprompt.backbone import stored
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.errors import BackboneError
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import fit
from clinprompt.training.member import FitMember, FitSpec

ROWS = random_rows([(6, 2), (4, 3), (9, 1)])
SHARDS = "model-*-of-*.safetensors"


def test_a_tokenizer_from_a_wheel_has_the_special_tokens_of_its_model():
    tokenizer = byte_tokenizer()
    begins, ends, pads = tokenizer.convert_tokens_to_ids(["a", "b", "c"])
    config = GPT2Config(bos_token_id=begins, eos_token_id=ends, pad_token_id=None)
    before = tokenizer.pad_token
    stored._copy_special_tokens(tokenizer, config)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("a", "b", before)
    stored._copy_special_tokens(tokenizer, GPT2Config(pad_token_id=pads))
    assert tokenizer.pad_token == "c"


def load(folder, **options):
    return load_backbone(str(folder), device="cpu", **options)


@torch.no_grad()
def logits(backbone):
    return backbone.model(torch.arange(24).view(2, 12)).logits


def assert_a_prompt_trains(backbone, folder):
    """Take one step; the prompt moves, and no weight of the backbone does."""
    weights = {name: p.detach().clone() for name, p in backbone.model.named_parameters()}
    module = SoftPrompts(random_prompts(1, 4))
    before = module.vectors.detach().clone()
    settings = FitSettings(steps=1, rows=3, warmup_steps=0)
    spec = FitSpec(settings, {"prompt": 0.1}, seed=0)
    member = FitMember("phase", PromptTuner(module), [ROWS], spec)
    progress = fit(backbone, member, place_in(folder))
    assert progress.step == 1
    assert (module.vectors != before).all()
    for name, p in backbone.model.named_parameters():
        assert torch.equal(p, weights[name]), name
        assert p.grad is None


@pytest.fixture(scope="module", params=["llama", "gpt-oss"])
def architecture(request):
    return request.param


@pytest.fixture
def sharded(tmp_path, architecture):
    folder = save_tiny(tmp_path / "model", architecture, max_shard_size="30KB")
    assert len([*folder.glob(SHARDS)]) > 1
    return folder


def test_a_checkpoint_in_shards_is_the_one_in_a_single_file(sharded, architecture, tmp_path):
    whole = load(save_tiny(tmp_path / "whole", architecture))
    backbone = load(sharded)
    assert torch.equal(logits(backbone), logits(whole))
    assert_a_prompt_trains(backbone, tmp_path)


def test_a_change_in_any_shard_is_another_backbone(sharded):
    fingerprints = {load(sharded).fingerprint}
    shards = sorted(sharded.glob(SHARDS))
    for shard in shards:
        tensors = load_file(shard)
        next(iter(tensors.values())).view(-1)[0] += 1
        save_file(tensors, shard, metadata={"format": "pt"})
        fingerprints.add(load(sharded).fingerprint)
    assert len(fingerprints) == len(shards) + 1


def test_a_missing_shard_is_named(sharded):
    """The hub's cache looks the same after a download that was stopped."""
    last = sorted(sharded.glob(SHARDS))[-1]
    last.unlink()
    with pytest.raises(
        BackboneError, match=f"1 weight files are missing, the first is {last.name}"
    ):
        load(sharded)


def test_a_model_without_a_pad_token_and_with_several_ends_trains(architecture, tmp_path):
    """LLaMA 3.1 has no pad token, and its Instruct model ends answers in three ways."""
    ends = [257, 256]
    folder = save_tiny(tmp_path / "model", architecture, pad_token_id=None, eos_token_id=ends)
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    backbone = load(folder)
    assert backbone.model.config.pad_token_id is None
    assert backbone.model.generation_config.eos_token_id == ends
    assert backbone.end_ids == {256, 257}
    assert (backbone.tokenizer.pad_token_id, backbone.pad_id) == (None, 0)
    assert_a_prompt_trains(backbone, tmp_path)


def test_mxfp4_of_one_block_by_hand():
    """The largest of 32 values is 6: its exponent is 2, so the scale is 2 - 2 + 127."""
    values = torch.zeros(1, 32, 1)
    values[0, :5, 0] = torch.tensor([6.0, -0.5, 3.2, 0.2, -5.0])
    blocks, scales = pack(values)
    assert scales.tolist() == [[[127]]]
    assert blocks[0, 0, 0, :3].tolist() == [7 + 16 * 9, 5 + 16 * 0, 14]
    assert unpack(blocks, scales)[0, :5, 0].tolist() == [6.0, -0.5, 3.0, 0.0, -4.0]


@pytest.fixture
def quantized(tmp_path):
    """A gpt-oss in MXFP4, and a float one with the same values."""
    folder = save_tiny(tmp_path / "mxfp4", "gpt-oss", intermediate_size=64)
    rounded = shutil.copytree(folder, tmp_path / "rounded")
    quantize_experts(folder, rounded)
    return folder, rounded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_mxfp4_checkpoint_is_the_float_one_with_its_values(quantized, dtype):
    packed, rounded = (load(folder, dtype=dtype) for folder in quantized)
    assert packed.model.dtype == dtype
    assert packed.num_parameters == rounded.num_parameters
    assert torch.equal(logits(packed), logits(rounded))
    assert packed.fingerprint != rounded.fingerprint


def test_a_prompt_trains_through_an_mxfp4_checkpoint(quantized, tmp_path):
    assert_a_prompt_trains(load(quantized[0]), tmp_path)


def test_mxfp4_without_its_scales_is_refused(quantized):
    path = quantized[0] / "model.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if not k.endswith("down_proj_scales")}
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load(quantized[0])


def test_another_quantization_is_refused(tiny_llama_folder, tmp_path):
    folder = shutil.copytree(tiny_llama_folder, tmp_path / "copy")
    change_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(BackboneError, match=r"quantized \(gptq\).*give the checkpoint"):
        load(folder)


def refuse(config, folder, words):
    config.save_pretrained(folder)
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(BackboneError, match=words):
        load(folder)


def test_a_model_with_alibi_is_refused(tmp_path):
    config = BloomConfig(vocab_size=264, hidden_size=32, n_layer=1, n_head=4)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"a bloom has no rotary positions.*use a Llama"):
        load(tmp_path)


def test_a_model_with_learned_positions_is_refused(tmp_path):
    refuse(GPT2Config(n_layer=1), tmp_path, "a gpt2 has no rotary positions")


def test_a_model_with_linear_attention_is_refused(tmp_path):
    words = "a qwen3_next has layers of type linear_attention.*use a Llama"
    refuse(Qwen3NextConfig(num_hidden_layers=4), tmp_path, words)


def test_a_model_that_transformers_does_not_know_is_refused(tiny_llama_folder, tmp_path):
    folder = shutil.copytree(tiny_llama_folder, tmp_path / "copy")
    change_json(folder / "config.json", model_type="llama-9")
    with pytest.raises(BackboneError, match=r"cannot be loaded: .*llama-9"):
        load(folder)
