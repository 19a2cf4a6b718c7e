"""Check from a model's config whether it supports prompts, and how to dequantize its weights.

The keys and values of a prompt are computed once. Rows continue from them at their own rotary
positions. Knows nothing of files.
"""

from transformers import Mxfp4Config, PretrainedConfig

from clinprompt.errors import BackboneError

_REMEDY = "use a Llama, Qwen, Mistral, Gemma, Phi or gpt-oss model"
_KINDS = frozenset({"full_attention", "sliding_attention"})  # the ones with an attention mask
_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")


def check_supported(name: str, config: PretrainedConfig) -> None:
    """Check that a model with this config supports prompts.

    Raises:
        BackboneError: its positions are not rotary, a position sees later ones, a layer needs
            something other than vectors or stores something other than keys and values, or it is
            not a plain language model.
    """
    for problem in (_of_positions(config), _of_layers(config), _of_sizes(config)):
        if problem:
            raise BackboneError(f"backbone {name}: a {config.model_type} {problem}; {_REMEDY}")


def _of_positions(config: PretrainedConfig) -> str:
    """Return why rows of a model cannot continue from positions before them; "" if they can."""
    if getattr(config, "text_config", None) is not None:
        return (
            "is not a plain language model, because it reads images or sound too (text_config in "
            "its config); give its text part, saved as a model of its own"
        )
    if getattr(config, "alibi", False) or not getattr(config, "rope_parameters", None):
        return (
            "has no rotary positions (no rope_parameters in its config, or alibi), so rows cannot "
            "continue from a prompt's keys and values"
        )
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        return (
            "lets positions see later ones (use_bidirectional_attention), so a prompt's keys and "
            "values would depend on the text after it"
        )
    return ""


def _of_layers(config: PretrainedConfig) -> str:
    """Return why the layers of a model cannot read a prompt; "" if they can."""
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - _KINDS):
        return (
            f"has layers of type {', '.join(others)}, which store no keys and values for rows to "
            "continue from"
        )
    if getattr(config, "hidden_size_per_layer_input", None):
        return (
            "looks up each token again in every layer (hidden_size_per_layer_input), and the "
            "vectors of a prompt are no tokens"
        )
    if getattr(config, "num_kv_shared_layers", None):
        return (
            "has layers that use the keys and values of other layers (num_kv_shared_layers), so "
            "rows cannot continue from their own"
        )
    return ""


def _of_sizes(config: PretrainedConfig) -> str:
    missing = [size for size in _SIZES if not isinstance(getattr(config, size, None), int)]
    return (
        f"has no {missing[0]} in its config, so it is not a plain language model" if missing else ""
    )


def longest_context(config: PretrainedConfig) -> int:
    """Return the longest sequence that can continue stored keys and values, in positions.

    With long rotary positions (Phi 3.5), a longer row turns all positions differently, also those
    of a prompt that was read before.
    """
    parameters = config.rope_parameters
    kinds = [parameters] if "rope_type" in parameters else list(parameters.values())
    limits = [
        int(one["original_max_position_embeddings"])
        for one in kinds
        if one and one["rope_type"] == "longrope"
    ]
    return min([int(config.max_position_embeddings), *limits])


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
