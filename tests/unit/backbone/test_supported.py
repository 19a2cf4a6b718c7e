"""Models that cannot carry a prompt are refused by name, before their weights are read."""

import pytest
import torch
import transformers
from safetensors.torch import save_file

from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.supported import check_supported, longest_context
from clinprompt.errors import BackboneError

LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 4096,
    "short_factor": [1.0] * 48,
    "long_factor": [4.0] * 48,
}
REFUSED = {
    "mamba": (transformers.MambaConfig(), "a mamba has no rotary positions"),
    "bloom": (transformers.BloomConfig(), "a bloom has no rotary positions"),
    "linear attention": (
        transformers.Qwen3NextConfig(num_hidden_layers=4),
        "layers of type linear_attention, which store no keys and values",
    ),
    "convolutions": (
        transformers.Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]),
        "layers of type conv",
    ),
    "gemma 3n": (transformers.Gemma3nTextConfig(), "looks up each token again in every layer"),
    "gemma 4, small": (
        transformers.Gemma4TextConfig(hidden_size_per_layer_input=256),
        "looks up each token again in every layer",
    ),
    "gemma 4, shared": (
        transformers.Gemma4TextConfig(hidden_size_per_layer_input=0, num_kv_shared_layers=10),
        "use the keys and values of other layers",
    ),
    "gemma 3, encoder": (
        transformers.Gemma3TextConfig(use_bidirectional_attention=True),
        "lets positions see later ones",
    ),
    "gemma 3 with images": (transformers.Gemma3Config(), "is not a plain language model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_cannot_carry_a_prompt_is_refused_before_its_weights_are_read(kind, tmp_path):
    config, words = REFUSED[kind]
    config.save_pretrained(tmp_path)
    save_file({"no weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match=words) as refused:
        load_backbone(str(tmp_path), device="cpu")
    assert str(refused.value).startswith(f"backbone {tmp_path}: a {config.model_type} ")
    assert str(refused.value).endswith("; use a Llama, Qwen, Mistral, Gemma, Phi or gpt-oss model")


def test_the_large_gemma_4_is_supported():
    check_supported("gemma-4", transformers.Gemma4TextConfig(hidden_size_per_layer_input=0))


def test_long_rotary_positions_end_where_they_would_change():
    """Beyond 4,096 positions, a Phi 3.5 turns all positions by other angles."""
    long = transformers.Phi3Config(max_position_embeddings=131072, rope_parameters=LONG)
    plain = transformers.Phi3Config(max_position_embeddings=8192)
    assert (longest_context(long), longest_context(plain)) == (4096, 8192)
    assert longest_context(transformers.Gemma3TextConfig()) == 131072
