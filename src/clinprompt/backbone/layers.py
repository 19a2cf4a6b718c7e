"""Prompts as keys and values of every layer: trained without computing a single prompt position.

What an input prompt leaves behind for the text is its keys and values. Training these themselves
(arXiv 2101.00190) gives the prompt 2·L·G·D numbers a position instead of H. One layout serves
plain and decomposed prompts alike: a position's keys and values lie in one row of width W.

Axes: K tasks, P prompt positions, H hidden size, L layers, G key-value heads, D head size,
W = L·2·G·D.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from clinprompt.backbone.shared_prefix import Prefix, read_prompts
from clinprompt.settings.groups import Placement


def prompt_width(model: PreTrainedModel, placement: Placement) -> int:
    """Return how many numbers a prompt has at each position: H, or W in all layers."""
    if placement != "layers":
        return int(model.config.hidden_size)
    num_layers, num_heads, head_size = key_value_shape(model)
    return num_layers * 2 * num_heads * head_size


def prefix_from_layer_prompts(model: PreTrainedModel, prompts: Float[Tensor, "K P W"]) -> Prefix:
    """Return the keys and values that prompts of this kind are; gradients flow back to them."""
    num_tasks, length, _ = prompts.shape
    num_layers, num_heads, head_size = key_value_shape(model)
    stored = prompts.to(model.get_input_embeddings().weight.dtype)
    parts = stored.view(num_tasks, length, num_layers, 2, num_heads, head_size)
    layers = tuple((keys, values) for keys, values in parts.permute(2, 3, 0, 4, 1, 5).unbind())
    positions = torch.arange(length, device=prompts.device).expand(num_tasks, length)
    return Prefix(layers, positions, torch.ones_like(positions, dtype=torch.bool))


@torch.no_grad()
def to_layer_prompts(
    model: PreTrainedModel, prompts: Float[Tensor, "K P H"]
) -> Float[Tensor, "K P W"]:
    """Return the keys and values that input prompts give, so that training starts as they are."""
    num_tasks, length, _ = prompts.shape
    layers = read_prompts(model, prompts).keys_values
    stacked = torch.stack([torch.stack(layer) for layer in layers])  # [L, 2, K, G, P, D]
    return stacked.permute(2, 4, 0, 1, 3, 5).reshape(num_tasks, length, -1).float()


def key_value_shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return L, G and D of a model."""
    config = model.config
    head_size = getattr(config, "head_dim", None)
    return (
        int(config.num_hidden_layers),
        int(config.num_key_value_heads),
        int(head_size or config.hidden_size // config.num_attention_heads),
    )
