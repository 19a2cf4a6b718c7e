"""Add up the gradients of one step, micro-batch by micro-batch. Knows nothing of tasks or rates.

Axes: K tasks, P prompt positions, W width of a prompt.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from clinprompt.backbone.bank import Bank, TargetStates, make_bank, target_states
from clinprompt.backbone.shared_prefix import Prefix
from clinprompt.batches.encode import Batch
from clinprompt.settings.groups import Placement

Loss = Callable[[Batch, TargetStates], Tensor]


def accumulate_gradients(
    model: PreTrainedModel,
    prompts: Float[Tensor, "K P W"] | None,
    tasks: Sequence[int],
    batches: Sequence[Batch],
    loss: Loss,
    *,
    placement: Placement = "prefix",
) -> float:
    """Add the gradients of a step's summed loss; return the loss.

    ``prompts`` are those of ``tasks``, in ascending order; ``batches`` are the micro-batches of the
    step. What is computed of the prompts alone is computed once; each micro-batch runs backward to
    detached copies of it, so memory stays that of one micro-batch; one last backward reaches the
    prompts.
    """
    bank = make_bank(model, prompts, placement)
    leaves, outputs, inputs = _detached(bank)
    order = torch.tensor(tasks, device=model.device)
    total = torch.zeros((), device=model.device)
    for batch in batches:
        owners = torch.searchsorted(order, batch.tasks)
        value = loss(batch, target_states(model, batch, leaves, owners))
        value.backward()  # type: ignore[no-untyped-call]
        total = total + value.detach()
    if outputs:
        torch.autograd.backward(outputs, [tensor.grad for tensor in inputs])
    return float(total)


def _detached(bank: Bank) -> tuple[Bank, list[Tensor], list[Tensor]]:
    """Return a copy of a bank that collects gradients, the bank's tensors, and the copy's."""
    outputs = [tensor for layer in bank.keys_values for tensor in layer]
    if bank.suffix is not None:
        outputs = [bank.suffix]
    inputs = [tensor.detach().requires_grad_() for tensor in outputs]
    if bank.suffix is not None:
        return Bank(suffix=inputs[0]), outputs, inputs
    if bank.prefix is None:
        return bank, [], []
    layers = tuple(zip(inputs[::2], inputs[1::2], strict=True))
    prefix = Prefix(layers, bank.prefix.positions, bank.prefix.is_real)
    return Bank(prefix=prefix), outputs, inputs
