"""Prompts that are the keys and values of every layer (prefix tuning, arXiv 2101.00190).

Text attends to an input prompt through the prompt's keys and values. Prefix tuning trains these
directly: 2·L·G·D numbers for each position instead of H, and the model never runs on the prompt.
All keys and values of a position are one vector of width W, for plain and for decomposed prompts.

Axes: K tasks, P prompt positions, H hidden size, L layers, G key-value heads, D head size,
W = L·2·G·D.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from clinprompt.backbone.shared_prefix import Prefix, read_prompts
from clinprompt.backbone.tensor_parallel import all_heads, own_heads
from clinprompt.errors import BackboneError
from clinprompt.settings.groups import Placement


def prompt_width(model: PreTrainedModel, placement: Placement) -> int:
    """Return the width of a prompt at a placement: W for ``layers``, otherwise H.

    Raises:
        BackboneError: the layers have keys and values of different shapes, for ``layers``.
    """
    if placement != "layers":
        return int(model.config.hidden_size)
    num_layers, num_heads, head_size = key_value_shape(model)
    return num_layers * 2 * num_heads * head_size


def prefix_from_layer_prompts(model: PreTrainedModel, prompts: Float[Tensor, "K P W"]) -> Prefix:
    """Split prompts into the keys and values of each layer; gradients flow back to the prompts.

    If the model is divided over processes, each has the keys and values of its own heads.
    """
    num_tasks, length, _ = prompts.shape
    num_layers, num_heads, head_size = key_value_shape(model)
    stored = prompts.to(model.get_input_embeddings().weight.dtype)
    parts = stored.view(num_tasks, length, num_layers, 2, num_heads, head_size)
    own = own_heads(model, parts, dim=4).permute(2, 3, 0, 4, 1, 5)
    layers = tuple((keys, values) for keys, values in own.unbind())
    positions = torch.arange(length, device=prompts.device).expand(num_tasks, length)
    return Prefix(layers, positions, torch.ones_like(positions, dtype=torch.bool))


@torch.no_grad()
def to_layer_prompts(
    model: PreTrainedModel, prompts: Float[Tensor, "K P H"]
) -> Float[Tensor, "K P W"]:
    """Return prompts with the keys and values that input prompts produce."""
    num_tasks, length, _ = prompts.shape
    layers = read_prompts(model, prompts).keys_values
    own = torch.stack([torch.stack(layer) for layer in layers])  # [L, 2, K, G, P, D]
    stacked = all_heads(model, own, dim=3)
    return stacked.permute(2, 4, 0, 1, 3, 5).reshape(num_tasks, length, -1).float()


def key_value_shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return a model's number of layers L, of key-value heads G, and head size D.

    Raises:
        BackboneError: its layers have keys and values of different shapes.
    """
    config = model.config
    if getattr(config, "is_heterogeneous", False):
        raise BackboneError(
            f"the layers of a {config.model_type} have keys and values of different shapes, which "
            "prompt.placement = 'layers' does not support; set prompt.placement to 'prefix' or "
            "'suffix'"
        )
    return int(config.num_hidden_layers), *key_value_heads(config)


def key_value_heads(config: PretrainedConfig) -> tuple[int, int]:
    """Return the number of key-value heads G of a model or a layer, and the head size D."""
    query_heads = int(config.num_attention_heads)
    return (
        int(getattr(config, "num_key_value_heads", None) or query_heads),
        int(getattr(config, "head_dim", None) or config.hidden_size // query_heads),
    )
