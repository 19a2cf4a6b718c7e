"""Add up losses and gradients of one step over its micro-batches.

Knows nothing of learning rates or of what a loss measures.

Axes: K tasks, P prompt positions, W width of a prompt, B rows, N target tokens, M members.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from clinprompt.backbone.bank import Bank, TargetStates, make_bank, target_states
from clinprompt.backbone.shared_prefix import Prefix
from clinprompt.batches.encode import IGNORED, Batch
from clinprompt.settings.groups import Placement

RowWeights = Callable[[Tensor], Tensor]  # from target tokens of rows [B] to weights [B]


@dataclass(frozen=True, slots=True)
class Loss:
    """A weighted sum of named terms.

    ``terms`` returns the value of each term at each target token of a batch [N]. It does not
    average: the accumulator weighs the target tokens, see ``token_weights``. ``weights`` holds the
    weight of each term, by the same names. ``row_weights`` returns the weight of each row in a step
    from its number of target tokens [B].
    """

    terms: Callable[[Batch, TargetStates], Mapping[str, Tensor]]
    weights: Mapping[str, float]
    row_weights: RowWeights = torch.ones_like


@dataclass(frozen=True, slots=True)
class StepPrompts:
    """The prompts of the tasks of one step (``vectors`` is None if weights are trained instead).

    ``tasks`` holds the task numbers of the rows, in ascending order. Tasks that are trained
    together form a member, and each member has its own loss: ``members[i]`` is the number of the
    member that ``tasks[i]`` belongs to, counted from 0.
    """

    vectors: Float[Tensor, "K P W"] | None
    tasks: Sequence[int]
    members: Sequence[int]
    placement: Placement = "prefix"


@dataclass(frozen=True, slots=True)
class LossValues:
    """The loss of one member in one step, and its terms before they are weighted."""

    total: float
    terms: Mapping[str, float]


def token_weights(
    rows: Int[Tensor, " N"],
    *,
    total: int | Tensor,
    row_weights: RowWeights = torch.ones_like,
) -> Float[Tensor, " N"]:
    """Return the weight of each target token: weight of its row / (its target tokens · ``total``).

    ``rows`` is the row of each token, ``total`` the sum of the weights of all rows in the whole
    step. With weights of 1 every row counts the same, however long its answer is.
    """
    lengths = torch.bincount(rows)
    return row_weights(lengths)[rows] / (lengths[rows] * total)


def weights_of_rows(batches: Sequence[Batch], row_weights: RowWeights) -> Int[Tensor, " B"]:
    """Return the weight of each row of all batches, in their order."""
    lengths = torch.cat([(batch.labels != IGNORED).sum(dim=1) for batch in batches])
    return row_weights(lengths)


def accumulate_gradients(
    model: PreTrainedModel,
    prompts: StepPrompts,
    batches: Sequence[Batch],
    loss: Loss,
    *,
    totals: Float[Tensor, " M"] | Int[Tensor, " M"] | None = None,
) -> list[LossValues]:
    """Add the gradients of a step's loss, summed over members; return the loss of each member.

    ``batches`` are the micro-batches of the step. If they are only a part of it, ``totals`` are the
    sums of the weights of all rows of each member in the whole step; the losses and gradients of
    all parts then add up to those of the step. Whatever depends on the prompts alone is computed
    once. Each micro-batch runs backward to detached copies of it, so memory stays that of one
    micro-batch. One last backward pass reaches the prompts.
    """
    bank = make_bank(model, prompts.vectors, prompts.placement)
    leaves, outputs, inputs = _detached(bank)
    tasks = torch.tensor(prompts.tasks, device=model.device)
    members = torch.tensor(prompts.members, device=model.device)
    prompt_of_row = [torch.searchsorted(tasks, batch.tasks) for batch in batches]
    if totals is None:
        owners = members[torch.cat(prompt_of_row)]
        totals = _totals(weights_of_rows(batches, loss.row_weights), owners)
    numbers = torch.arange(len(totals), device=model.device)[:, None]  # [M, 1]
    collected = []  # for each micro-batch, its loss and terms [1 + terms, M]
    for batch, owners in zip(batches, prompt_of_row, strict=True):
        states = target_states(model, batch, leaves, owners)
        member_of_token = members[owners[states.rows]]
        weights = token_weights(
            states.rows, total=totals[member_of_token], row_weights=loss.row_weights
        )
        is_own = numbers == member_of_token  # [M, N]
        terms = loss.terms(batch, states)
        sums = [torch.where(is_own, terms[name] * weights, 0.0).sum(dim=1) for name in loss.weights]
        weighted = [w * own for w, own in zip(loss.weights.values(), sums, strict=True)]
        total = reduce(torch.add, weighted)
        total.sum().backward()  # type: ignore[no-untyped-call]
        collected.append(torch.stack([total, *sums]).detach())
    if outputs:
        torch.autograd.backward(outputs, [tensor.grad for tensor in inputs])
    whole = reduce(torch.add, collected)
    return [
        LossValues(total, dict(zip(loss.weights, terms, strict=True)))
        for total, *terms in whole.T.tolist()  # one read of all values
    ]


def _totals(weights: Int[Tensor, " B"], members: Int[Tensor, " B"]) -> Int[Tensor, " M"]:
    """Return the sum of the weights of the rows of each member."""
    numbers = torch.arange(int(members.max()) + 1, device=members.device)[:, None]
    return ((numbers == members) * weights).sum(dim=1)


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
