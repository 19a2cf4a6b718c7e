"""A GGUF file is a backbone: dequantized once, identified by its bytes, refused if unusable."""

import json

import gguf
import numpy as np
import pytest
import torch
from made_store import save_prompt
from tiny import SPECIAL, VOCABULARY, byte_tokenizer, change_json, save_tiny

from clinprompt.backbone import stored
from clinprompt.backbone.load import load_backbone, load_tokenizer
from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.errors import ArtifactError, BackboneError
from clinprompt.jobs.annotate import load_prompt

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
HEADS = {"attn_q": 4, "attn_k": 2}
F32, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0


def stored_name(name):
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    return f"{outer[name.removesuffix('.weight')]}.weight"


def in_stored_order(name, weight):
    """Return weights with the halves of each query or key head interleaved, as GGUF has them."""
    kind = name.split(".")[-2]
    if kind not in HEADS:
        return weight
    rows = len(weight) // HEADS[kind]
    parts = weight.reshape(HEADS[kind], 2, rows // 2, -1)
    return np.ascontiguousarray(parts.swapaxes(1, 2).reshape(weight.shape))


def write_gguf(path, model, *, kind=F32, architecture="llama", left_out="", tokenizer=()):
    """Write a Llama as a GGUF file with the tokenizer of the tiny models.

    ``tokenizer`` replaces parts of it: ``tokens``, ``merges`` and ``eos``.
    """
    writer = gguf.GGUFWriter(path, architecture)
    changed = dict(tokenizer)
    config = model.config
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    own = byte_tokenizer()
    words = own.convert_ids_to_tokens(list(range(len(own))))
    unused = ["ab", *(f"<|unused{n}|>" for n in range(VOCABULARY - len(words) - 1))]
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = changed.get("tokens", words + unused)
    writer.add_token_list(tokens)
    kinds = [control if word in SPECIAL else normal for word in tokens]
    writer.add_token_types(kinds)
    if merges := changed.get("merges", ["a b"]):  # there must be one
        writer.add_token_merges(merges)
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(changed.get("eos", 257))
    writer.add_pad_token_id(258)
    writer.add_chat_template(own.chat_template)
    for name, tensor in model.state_dict().items():
        known = stored_name(name)
        if known == left_out:
            continue
        weight = in_stored_order(known, tensor.float().numpy())
        if kind == Q8_0 and weight.ndim == 2 and weight.shape[1] % 32 == 0:
            writer.add_tensor(known, gguf.quantize(weight, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(known, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def source(tmp_path):
    folder = save_tiny(tmp_path / "source", "llama", bos_token_id=256)
    return load_backbone(str(folder), device="cpu")


@torch.no_grad()
def logits(backbone):
    return backbone.model(torch.arange(24).view(2, 12)).logits


def test_an_unquantized_file_computes_what_its_model_does(source, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", source.model)
    backbone = load_backbone(str(path), device="cpu")
    torch.testing.assert_close(logits(backbone), logits(source))
    text = "Takes iron, 5 mg.\n"
    assert backbone.tokenizer(text)["input_ids"] == source.tokenizer(text)["input_ids"]
    assert backbone.tokenizer.chat_template == source.tokenizer.chat_template
    assert backbone.end_ids == {257}
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_a_quantized_file_is_another_backbone_close_to_the_model(source, tmp_path):
    whole = load_backbone(str(write_gguf(tmp_path / "f32.gguf", source.model)), device="cpu")
    path = write_gguf(tmp_path / "q8.gguf", source.model, kind=Q8_0)
    rounded = load_backbone(str(path), device="cpu")
    assert rounded.fingerprint.startswith("gguf:")
    assert rounded.fingerprint != whole.fingerprint
    name = "model.layers.0.self_attn.v_proj.weight"
    weight, found = (one.model.get_parameter(name) for one in (source, rounded))
    blocks = torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), Q8_0), Q8_0))
    assert torch.equal(found, blocks)
    assert not torch.equal(found, weight)


def test_a_prompt_of_one_quantization_is_refused_on_another_of_the_same_name(source, tmp_path):
    (tmp_path / "q8").mkdir()
    whole = write_gguf(tmp_path / "model.gguf", source.model)
    rounded = write_gguf(tmp_path / "q8" / "model.gguf", source.model, kind=Q8_0)
    prompt = save_prompt(tmp_path / "store", whole, "practice-ner-drugs")
    words = r"trained on model\.gguf .* another quantization, version or tokenizer of the model\); "
    with pytest.raises(ArtifactError, match=words + r"load the prompt's backbone"):
        load_prompt(prompt, backbone=str(rounded), device="cpu")
    with pytest.raises(ArtifactError, match=r"trained on model\.gguf .*, not on .*source"):
        load_prompt(prompt, backbone=source.name, device="cpu")


def test_a_file_is_dequantized_once_wherever_it_is(source, tmp_path, monkeypatch):
    first = write_gguf(tmp_path / "model.gguf", source.model)
    folder, fingerprint = stored.locate(str(first))
    monkeypatch.setattr(stored, "_dequantize", None)  # calling it would fail
    moved = first.rename(tmp_path / "renamed.GGUF")
    assert stored.locate(str(moved)) == (folder, fingerprint)
    assert load_tokenizer(str(moved)).eos_token == "<|im_end|>"


def test_the_sizes_of_a_file_are_known_without_dequantizing_it(source, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", source.model, kind=Q8_0)
    status = inspect_backbone(str(path))
    assert status.problem == ""
    assert status.sizes
    assert (status.sizes.num_layers, status.sizes.hidden_size) == (2, 32)
    assert status.sizes.num_parameters == source.num_parameters


def refuse(path, words):
    with pytest.raises(BackboneError, match=words) as caught:
        load_backbone(str(path), device="cpu")
    assert str(path) in str(caught.value)
    assert inspect_backbone(str(path)).problem == str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    refuse(tmp_path / "model.gguf", "there is no such file")


@pytest.mark.parametrize("kept", [0, 3, 30, 2000, -1000])
def test_a_damaged_file_is_refused(source, tmp_path, kept):
    path = write_gguf(tmp_path / "model.gguf", source.model)
    path.write_bytes(path.read_bytes()[:kept])
    refuse(path, "damaged, incomplete or not a GGUF file")


def test_a_file_without_one_weight_is_refused(source, tmp_path):
    path = write_gguf(tmp_path / "model.gguf", source.model, left_out="blk.1.ffn_up.weight")
    with pytest.raises(BackboneError, match=r"1 weights are missing.*layers\.1\.mlp\.up_proj"):
        load_backbone(str(path), device="cpu")
    with pytest.raises(BackboneError, match="1 weights are missing"):  # nothing was cached
        load_backbone(str(path), device="cpu")


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("wavtokenizer-dec", "does not read the architecture wavtokenizer-dec"),
        ("gpt2", "no rotary positions"),
    ],
)
def test_an_architecture_that_cannot_be_used_is_refused(source, tmp_path, architecture, words):
    refuse(write_gguf(tmp_path / "m.gguf", source.model, architecture=architecture), words)


@pytest.mark.parametrize(
    ("tokenizer", "fault"),
    [
        ({"tokens": ["a", "b", "ab"]}, "bos_token_id is 256, but there are 3 tokens"),
        ({"tokens": [f"t{n}" for n in range(300)]}, "there are 300 tokens, but embeddings of 264"),
        ({"merges": []}, "the file has no list of merges"),
        ({"eos": 9999}, "eos_token_id is 9999, but there are 264 tokens"),
    ],
)
def test_a_tokenizer_that_does_not_fit_its_model_is_refused(source, tmp_path, tokenizer, fault):
    path = write_gguf(tmp_path / "m.gguf", source.model, tokenizer=tokenizer)
    refuse(
        path, f"its tokenizer is damaged or inconsistent: {fault}; convert the model again, or use"
    )


@pytest.mark.parametrize("merge", ["a zzz", "a a"])
def test_a_merge_of_unknown_tokens_is_refused(source, tmp_path, merge):
    path = write_gguf(tmp_path / "m.gguf", source.model, tokenizer={"merges": [merge]})
    with pytest.raises(BackboneError, match=r"m\.gguf: .* out of vocabulary; convert the model"):
        load_backbone(str(path), device="cpu")


def test_a_saved_model_with_a_merge_of_unknown_tokens_is_refused(source, tmp_path):
    folder = tmp_path / "source"
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    change_json(folder / "tokenizer.json", model=model | {"merges": [["a", "zzz"]]})
    for load in (load_tokenizer, load_backbone):
        with pytest.raises(
            BackboneError, match=r"its tokenizer is damaged or inconsistent: .*`zzz` out of"
        ):
            load(str(folder))
