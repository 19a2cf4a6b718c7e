"""Divide the weights of a backbone over processes, and take each process's part of stored prompts.

transformers divides the weights by the plan of the architecture: in every layer, a process has its
part of the attention heads and of the feed-forward layer. Every process runs every row, and the
hidden states and logits of all of them are equal.

A stored prompt has all heads in every process. Gradients of prompts in front of the model are
complete in every process, because transformers adds up what goes back through the divided layers.
Of stored keys and values, a process computes the gradients of its own heads, so they are added up.

Axes: G key-value heads of the model, g = G / processes, V vocabulary, H hidden size.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PretrainedConfig, PreTrainedModel

from clinprompt.errors import BackboneError, SettingError

_REMEDY = "set tensor_parallel = false"


def num_parts(model: PreTrainedModel) -> int:
    """Return the number of processes that the weights of a model are divided over; usually 1."""
    return int(getattr(model, "_tp_size", None) or 1)


def num_processes() -> int:
    """Return the number of processes that were started together.

    Raises:
        SettingError: this process was started alone.
    """
    size = (
        dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
    )
    if size == 1:
        raise SettingError(
            "tensor_parallel = true divides the backbone over processes, but there is one process "
            f"only; start the command with torchrun --nproc-per-node N, or {_REMEDY}"
        )
    return size


def check_divisible(name: str, config: PretrainedConfig, *, parts: int) -> None:
    """Check from its config that a backbone can be divided over ``parts`` processes.

    Raises:
        BackboneError: transformers has no plan for its attention heads, or they cannot be divided
            evenly.
    """
    plan = getattr(config, "base_model_tp_plan", None) or {}
    styles = {path.rpartition(".")[2]: style for path, style in plan.items()}
    if any(styles.get(one) != "colwise" for one in ("q_proj", "k_proj", "v_proj")):
        raise BackboneError(
            f"backbone {name}: transformers has no plan that divides the attention heads of a "
            f"{config.model_type}, which tensor_parallel needs; {_REMEDY}"
        )
    for kind in ("num_attention_heads", "num_key_value_heads"):
        if (count := int(getattr(config, kind))) % parts:
            fitting = [str(n) for n in range(2, count + 1) if _divides_heads(config, n)]
            advice = f"start {' or '.join(fitting)} processes, or " if fitting else ""
            raise BackboneError(
                f"backbone {name}: {kind} = {count} cannot be divided over {parts} processes; "
                f"{advice}{_REMEDY}"
            )


def _divides_heads(config: PretrainedConfig, parts: int) -> bool:
    return not (config.num_attention_heads % parts or config.num_key_value_heads % parts)


def check_whole(model: PreTrainedModel, *, method: str) -> None:
    """Check that a method may change the weights of a model.

    Raises:
        SettingError: they are divided over processes.
    """
    if num_parts(model) > 1:
        raise SettingError(
            f"method {method} changes the weights of the backbone, which tensor_parallel divides "
            f"over processes; use another method, or {_REMEDY}"
        )


def loading_options(parts: int) -> Mapping[str, Any]:
    """Return the arguments with which transformers divides weights while it loads them."""
    if parts == 1:
        return {}
    from transformers.distributed import DistributedConfig  # noqa: PLC0415 - slow to import

    return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=parts)}


def own_heads(model: PreTrainedModel, every: Tensor, *, dim: int) -> Tensor:
    """Return this process's heads of keys or values that have all G heads at a dimension.

    The gradient that goes back has the heads of all processes.
    """
    if num_parts(model) == 1:
        return every
    shared = _with_gradient(every, dist.all_reduce)  # it is zero at the heads of other processes
    return shared.chunk(num_parts(model), dim=dim)[dist.get_rank()]


def all_heads(model: PreTrainedModel, own: Tensor, *, dim: int) -> Tensor:
    """Return all G heads of keys or values of which each process has g; without gradients."""
    if num_parts(model) == 1:
        return own
    own = own.contiguous()
    parts = [torch.empty_like(own) for _ in range(num_parts(model))]
    dist.all_gather(parts, own)
    return torch.cat(parts, dim=dim)


def with_equal_gradients(model: PreTrainedModel, prompts: Tensor) -> Tensor:
    """Return the same prompts; the gradient that goes back is that of the first process.

    Gradients that are summed in no fixed order, as on a GPU, would differ in their last bits
    otherwise, and with them the trained prompts.
    """
    if num_parts(model) == 1:
        return prompts
    return _with_gradient(prompts, partial(dist.broadcast, src=0))


def _with_gradient(values: Tensor, exchange: Callable[[Tensor], object]) -> Tensor:
    """Return the same values; ``exchange`` changes a copy of the gradient that goes back."""
    passed = values.view_as(values)

    def changed(gradient: Tensor) -> Tensor:
        copy = gradient.clone(memory_format=torch.contiguous_format)
        exchange(copy)
        return copy

    if passed.requires_grad:
        passed.register_hook(changed)  # type: ignore[no-untyped-call]
    return passed


def whole(weight: Tensor) -> Tensor:
    """Return all of a weight that may be divided; all processes must ask for it at a time."""
    full: Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return full


def divided_head(head: nn.Linear) -> Callable[[Tensor], Tensor]:
    """Return a function from hidden states [..., H] to all logits [..., V], in float32.

    The function keeps a float32 copy of this process's part of the head.
    """
    from torch.distributed.tensor import DTensor, Shard  # noqa: PLC0415 - slow to import

    def own_part(tensor: Tensor) -> Tensor:
        assert isinstance(tensor, DTensor)
        return tensor.to_local().detach().float()

    assert isinstance(head.weight, DTensor)
    mesh, num_logits = head.weight.device_mesh, head.weight.shape[0]
    weight, bias = own_part(head.weight), None if head.bias is None else own_part(head.bias)

    def logits(hidden: Tensor) -> Tensor:
        own = linear(hidden.float(), weight, bias)
        shape = torch.Size((*own.shape[:-1], num_logits))
        strides = torch.empty(shape, device="meta").stride()
        parts = DTensor.from_local(
            own, mesh, [Shard(own.ndim - 1)], run_check=False, shape=shape, stride=strides
        )
        return whole(parts)

    return logits


def smallest(model: PreTrainedModel, number: int) -> int:
    """Return the smallest of the numbers that the processes of a divided model have."""
    if num_parts(model) == 1:
        return number
    numbers = torch.tensor([number], device=model.device)
    dist.all_reduce(numbers, op=dist.ReduceOp.MIN)
    return int(numbers.item())
