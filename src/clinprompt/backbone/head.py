"""Compute logits from hidden states exactly as the model does: scaled, soft-capped or plain.

Some models change the product of the hidden states and the head: Gemma 2 caps it, Cohere and
Granite scale it. So the model's own forward pass computes the logits, with hidden states in place
of its layers.

Axes: H hidden size, V vocabulary.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from clinprompt.backbone.tensor_parallel import divided_head, num_parts

Head = Callable[[Tensor], Tensor]


def logits_of(model: PreTrainedModel, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
    """Return the logits of normalized hidden states, in float32 or float64."""
    return _logits(_without_layers(model), hidden)


def float32_head(model: PreTrainedModel) -> Head:
    """Return a function that computes logits as ``logits_of`` does, but multiplies in float32.

    A product in 16 bits rounds many logits of one row to the same value, so the best answer would
    depend on the order of the options. The function keeps a float32 copy of the head's weights of a
    16-bit model: make it once for many products, and drop it after them.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.dtype.itemsize > 2:
        return partial(logits_of, model)  # an adapter in the head has its own forward pass
    precise = divided_head(head) if num_parts(model) > 1 else _float32_product(head)
    alone = _without_layers(model)
    [name] = [name for name, module in model.named_children() if module is head]
    alone._modules[name] = _Applied(precise)

    def logits(hidden: Float[Tensor, "... H"]) -> Tensor:
        return _logits(alone, hidden.float())

    return logits


def _float32_product(head: nn.Linear) -> Head:
    weight = head.weight.detach().float()
    bias = None if head.bias is None else head.bias.detach().float()
    return partial(linear, weight=weight, bias=bias)


def _logits(alone: PreTrainedModel, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
    *rows, width = hidden.shape
    logits: Tensor = alone(inputs_embeds=hidden.reshape(1, -1, width)).logits
    return logits.view(*rows, -1).to(torch.promote_types(logits.dtype, torch.float32))


def _without_layers(model: PreTrainedModel) -> PreTrainedModel:
    """Return a shallow copy of a model that takes final hidden states as ``inputs_embeds``."""
    alone = copy.copy(model)
    alone._modules = {**model._modules, model.base_model_prefix: _Passed()}
    return alone


class _Passed(nn.Module):
    """Stands in for the layers of a model: returns the hidden states that it is given."""

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> "_States":
        return _States(inputs_embeds)


class _States:
    """What the layers of a model return: last hidden states, and None for all else."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor:
        assert index == 0
        return self.last_hidden_state

    def __getattr__(self, name: str) -> None:
        return None


class _Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Head) -> None:
        super().__init__()
        self._function = function

    def forward(self, hidden: Tensor) -> Tensor:
        return self._function(hidden)
