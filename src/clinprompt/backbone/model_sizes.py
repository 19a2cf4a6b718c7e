"""Compute a model's sizes from its config, without reading weights or allocating memory.

Axes: L layers, H hidden size, A query heads, G key-value heads, D head size, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from clinprompt.backbone.layers import key_value_heads
from clinprompt.backbone.stored import (
    WHEELS,
    find_folder,
    find_in_wheel,
    is_gguf,
    naming_backbone,
    read_config,
    read_gguf_config,
)
from clinprompt.backbone.supported import check_supported
from clinprompt.errors import BackboneError

_LLAMA_8B: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {  # for models that are not on the disk
    "meta-llama/Llama-3.1-8B": _LLAMA_8B,
    "OpenMeditron/Meditron3-8B": _LLAMA_8B,  # a fine-tuned Llama 3.1 8B
    "openai/gpt-oss-20b": {
        "model_type": "gpt_oss",
        "hidden_size": 2880,
        "num_hidden_layers": 24,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 2880,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "vocab_size": 201088,
        "max_position_embeddings": 131072,
    },
    "smollm2-135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes of a model.

    ``query_width`` is A·D, ``key_width`` is G·D, each of the widest layer. ``inner_width`` is the
    width of the feed-forward layer; in a mixture of experts, the sum over the experts used for one
    position.
    ``linear_weights`` counts the weights of linear layers, which can be quantized, and
    ``largest_linear`` those of the largest. ``layer_weights`` counts the weights used for one
    position, without embeddings and head.
    ``linear_inputs`` and ``linear_outputs`` are, for each name of linear layers, the summed widths
    of all layers of that name. ``attends_densely`` means that attention weights are stored for the
    backward pass.
    """

    kind: str
    num_layers: int
    hidden_size: int
    num_heads: int
    query_width: int
    key_width: int
    inner_width: int
    vocabulary_size: int
    num_parameters: int
    layer_weights: int
    linear_weights: int
    largest_linear: int
    linear_inputs: Mapping[str, int]
    linear_outputs: Mapping[str, int]
    attends_densely: bool


@dataclass(frozen=True, slots=True)
class BackboneStatus:
    """A backbone's sizes, None if unknown, and the problem that prevents loading it, if any."""

    name: str
    problem: str
    sizes: ModelSizes | None


def inspect_backbone(name: str) -> BackboneStatus:
    """Return a backbone's sizes, and why it cannot be loaded if that is the case."""
    problem, config = "", None
    try:
        if name in WHEELS:
            find_in_wheel(name)
        elif is_gguf(name):
            config = read_gguf_config(name, Path(name))
        else:
            config = read_config(name, find_folder(name))
    except BackboneError as error:
        problem = str(error)
    try:
        if config is None and name in PUBLISHED:
            config = AutoConfig.for_model(**PUBLISHED[name])
        return BackboneStatus(
            name, problem, None if config is None else sizes_of_config(name, config)
        )
    except BackboneError as error:
        return BackboneStatus(name, str(error), None)


def sizes_of_config(name: str, config: PretrainedConfig) -> ModelSizes:
    """Return the sizes of the model that a config describes.

    Raises:
        BackboneError: the model does not support prompts.
    """
    check_supported(name, config)
    config.quantization_config = None  # count dequantized weights
    with naming_backbone(name), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    num_heads = int(config.num_attention_heads)
    head_sizes, key_widths = _widths_of_heads(config)
    linears = [
        (path.rpartition(".")[2], module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    head = model.get_output_embeddings()
    inner = [module.weight.numel() for _, module in linears if module is not head]
    return ModelSizes(
        kind=config.model_type,
        num_layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        num_heads=num_heads,
        query_width=num_heads * max(head_sizes),
        key_width=max(key_widths),
        inner_width=int(config.intermediate_size) * int(getattr(config, "num_experts_per_tok", 1)),
        vocabulary_size=int(config.vocab_size),
        num_parameters=sum(p.numel() for p in model.parameters()),
        layer_weights=_layer_weights(model),
        linear_weights=sum(inner),
        largest_linear=max(inner, default=0),
        linear_inputs=_sum_by_name([(name, module.in_features) for name, module in linears]),
        linear_outputs=_sum_by_name([(name, module.out_features) for name, module in linears]),
        attends_densely=config._attn_implementation == "eager",
    )


def _widths_of_heads(config: PretrainedConfig) -> tuple[list[int], list[int]]:
    """Return the head size D and the width G·D of each kind of layer."""
    layers = [config]
    if getattr(config, "is_heterogeneous", False):
        layers = [config.per_layer_config[number] for number in range(config.num_hidden_layers)]
    heads = [key_value_heads(one) for one in layers]
    return [size for _, size in heads], [count * size for count, size in heads]


def _layer_weights(model: PreTrainedModel) -> int:
    config = model.config
    used_share = getattr(config, "num_experts_per_tok", 1) / getattr(config, "num_local_experts", 1)
    return sum(
        int(p.numel() * (used_share if ".experts." in name else 1))
        for name, p in model.named_parameters()
        if not {"embed_tokens", "lm_head"} & set(name.split("."))
    )


def _sum_by_name(widths: list[tuple[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for name, _ in widths)
    return {one: sum(width for name, width in widths if name == one) for one in names}
