"""Check from a model's config whether it supports prompts, and how to dequantize its weights.

The keys and values of a prompt are computed once. Rows continue from them at their own rotary
positions. Knows nothing of files.
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
_KINDS = frozenset({"full_attention", "sliding_attention"})  # the ones with an attention mask
_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")


def check_supported(name: str, config: PretrainedConfig) -> None:
    """Check that a model with this config supports prompts.

    Raises:
        BackboneError: its logits are rescaled, its positions are not rotary, a layer stores
            something other than keys and values, or it is not a plain language model.
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
            f"config, or alibi), so rows cannot continue from a prompt's keys and values; {_REMEDY}"
        )
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - _KINDS):
        raise BackboneError(
            f"backbone {name}: a {kind} has layers of type {', '.join(others)}, which store no "
            f"keys and values for rows to continue from; {_REMEDY}"
        )
    if missing := [size for size in _SIZES if not isinstance(getattr(config, size, None), int)]:
        raise BackboneError(
            f"backbone {name}: a {kind} has no {missing[0]} in its config, so it is not a "
            f"plain language model; {_REMEDY}"
        )


def dequantization(name: str, config: PretrainedConfig) -> Mxfp4Config | None:
    """Return the config that dequantizes stored weights; None if they are not quantized.

    Gradients cannot pass through quantized weights.

    Raises:
        BackboneError: the weights are quantized by a method other than MXFP4.
    """
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if method != "mxfp4":
        raise BackboneError(
            f"backbone {name}: its weights are quantized ({method}), but training a prompt needs "
            "MXFP4 or unquantized weights; give the checkpoint before quantization"
        )
    return Mxfp4Config(dequantize=True)
