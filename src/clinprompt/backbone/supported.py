"""Tell from a model's config whether it can carry a prompt, and how its weights are read.

A prompt is read once, and rows go on from its keys and values at rotary positions of their own.
Knows nothing of files.
"""

from transformers import Mxfp4Config, PretrainedConfig

from clinprompt.errors import BackboneError

_REMEDY = "use a Llama, Qwen, Mistral or gpt-oss model"
_RESCALING = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "attn_logit_softcapping",
)
_KINDS = frozenset({"full_attention", "sliding_attention"})  # those that masks are made for
_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")


def check_supported(name: str, config: PretrainedConfig) -> None:
    """Check that a model of this config can carry a prompt.

    Raises:
        BackboneError: its logits are rescaled, its positions are not rotary, a layer keeps
            something else than keys and values, or it is no plain language model.
    """
    scaled = [key for key in _RESCALING if getattr(config, key, None) not in (None, 1, 1.0)]
    if scaled:
        raise BackboneError(
            f"backbone {name}: its logits are rescaled ({', '.join(scaled)}), which clinprompt "
            f"does not compute; {_REMEDY}"
        )
    kind = config.model_type
    if getattr(config, "alibi", False) or not getattr(config, "rope_parameters", None):
        raise BackboneError(
            f"backbone {name}: a {kind} has no rotary positions (no rope_parameters in its "
            f"config, or alibi), so no row can go on from a prompt's keys and values; {_REMEDY}"
        )
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - _KINDS):
        raise BackboneError(
            f"backbone {name}: a {kind} has layers of {', '.join(others)}, which keep no keys and "
            f"values that a row could go on from; {_REMEDY}"
        )
    if lacking := [size for size in _SIZES if not isinstance(getattr(config, size, None), int)]:
        raise BackboneError(
            f"backbone {name}: a {kind} has no {lacking[0]} in its config, so it is no plain "
            f"language model; {_REMEDY}"
        )


def dequantization(name: str, config: PretrainedConfig) -> Mxfp4Config | None:
    """Return how to turn stored weights into ones that gradients can pass (None: as they are).

    Raises:
        BackboneError: they are quantized in a way that is not MXFP4.
    """
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if method != "mxfp4":
        raise BackboneError(
            f"backbone {name}: its weights are quantized ({method}), and prompts are trained "
            "through MXFP4 or unquantized ones; give the checkpoint that it was made from"
        )
    return Mxfp4Config(dequantize=True)
