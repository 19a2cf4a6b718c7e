"""Recompute the layers of a model in the backward pass, instead of keeping what they computed.

The checkpointing of transformers drops the cache, which holds the keys and values of prompts. Here
each layer runs on a cache of its own, so running it twice changes nothing.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_layers(model: PreTrainedModel) -> None:
    """Let a model keep only the inputs of its layers for the backward pass.

    Results and gradients stay the same, to the bit.
    """
    layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
    for number, layer in enumerate(layers):
        layer.forward = partial(_forward, layer.forward, number)


def _forward(
    forward: Callable[..., object], number: int, *inputs: object, **options: object
) -> object:
    """Run the layer of a number, and add its keys and values to the cache, if there is one."""
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    caches = {name: value for name, value in options.items() if isinstance(value, Cache)}
    before = {name: cache.layers[number : number + 1] for name, cache in caches.items()}
    after: dict[str, DynamicLayer] = {}

    def run(*inputs: object) -> object:
        own = {name: _OneLayer(layers) for name, layers in before.items()}
        outputs = forward(*inputs, **(options | own))
        if not after:  # the second time, the cache has the keys and values already
            after.update({name: cache.layers[0] for name, cache in own.items()})
        return outputs

    outputs = checkpoint(run, *inputs, use_reentrant=False)
    for name, layer in after.items():
        caches[name].layers[number : number + 1] = [layer]
    return outputs


class _OneLayer(Cache):  # type: ignore[misc]  # transformers is not typed
    """The stored keys and values of one layer, as they were before it ran."""

    def __init__(self, stored: Sequence[DynamicLayer]) -> None:
        super().__init__(layers=[copy.copy(one) for one in stored] or [DynamicLayer()])

    def update(
        self, key_states: Tensor, value_states: Tensor, _: int, *__: object, **___: object
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values; return all of the layer, whichever number the caller gives."""
        both: tuple[Tensor, Tensor] = super().update(key_states, value_states, 0)
        return both
