"""Divide the rows of a step over several processes, and add up what each of them computed.

With one process, it has all rows and nothing is sent. The same holds if processes divide the model
instead of rows. Knows nothing of prompts or losses.
"""

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from clinprompt.backbone.gradients import LossValues
from clinprompt.backbone.ranks import Ranks, add_up, check_same, copy_from_first, gathered, ranks
from clinprompt.backbone.tensor_parallel import num_parts
from clinprompt.batches.encode import Row


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one process, or all together, computed of a step.

    ``values`` are the losses of members. ``num_positions`` counts the positions of all
    micro-batches. If memory did not suffice, ``full_at`` is the number of positions of the largest
    micro-batch, otherwise 0; ``was_one_row`` says that no smaller micro-batch is possible.
    """

    values: Sequence[LossValues]
    num_positions: int = 0
    full_at: int = 0
    was_one_row: bool = False


def row_processes(model: PreTrainedModel) -> Ranks:
    """Return which process that divides rows this is; the only one if they divide the model."""
    return ranks() if num_parts(model) == 1 else Ranks()


def own_rows(chosen: Sequence[Sequence[Row]], own: Ranks) -> list[list[Row]]:
    """Return those of the rows of each member that a process computes, in their order."""
    lengths = [len(row) for rows in chosen for row in rows]
    owners = iter(owners_of(lengths, own.size))
    return [[row for row in rows if next(owners) == own.rank] for rows in chosen]


def owners_of(lengths: Sequence[int], num_processes: int) -> list[int]:
    """Return the process of each row, such that all have about the same number of tokens.

    The longest rows are given first, each to the process with the fewest tokens so far.
    """
    owners, loads = [0] * len(lengths), [0] * num_processes
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        owner = loads.index(min(loads))
        owners[index] = owner
        loads[owner] += lengths[index]
    return owners


def of_all(attempt: Attempt, names: Iterable[str], own: Ranks) -> Attempt:
    """Return the sum of the attempts of all processes; ``names`` are those of the loss terms.

    Losses and terms are sums over rows already, weighted by the whole step. If memory did not
    suffice in one process, the attempt of all has failed.

    Raises:
        LostProcessError: another process has ended.
    """
    if own.size == 1:
        return attempt
    order = list(names)
    losses = [[value.total, *(value.terms[name] for name in order)] for value in attempt.values]
    about = [attempt.num_positions, attempt.full_at, attempt.was_one_row]
    flat = torch.tensor([*about, *(number for loss in losses for number in loss)]).double()
    every = gathered(flat)
    sums = every[:, len(about) :].sum(dim=0).reshape(len(losses), -1).tolist()
    return Attempt(
        [LossValues(total, dict(zip(order, terms, strict=True))) for total, *terms in sums],
        num_positions=int(every[:, 0].sum()),
        full_at=int(every[:, 1].max()),
        was_one_row=bool(every[:, 2].any()),
    )


def add_up_gradients(parameters: Sequence[nn.Parameter], own: Ranks) -> None:
    """Replace each gradient by its sum over all processes. One that no process has stays None.

    Raises:
        LostProcessError: another process has ended.
    """
    if own.size == 1:
        return
    has_own = torch.tensor([parameter.grad is not None for parameter in parameters])
    has_any = gathered(has_own).any(dim=0).tolist()
    for parameter in (p for p, is_there in zip(parameters, has_any, strict=True) if is_there):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        add_up(parameter.grad)


def make_equal(parameters: Sequence[nn.Parameter]) -> None:
    """Copy the parameters of the first process to all others."""
    for parameter in parameters:
        copy_from_first(parameter.data)


def check_equal(what: Mapping[str, object], tensors: Sequence[Tensor] = ()) -> None:
    """Check that descriptions and tensors are the same in all processes.

    Raises:
        RunError: they differ.
        LostProcessError: another process has ended.
    """
    if ranks().size > 1:
        digests = {"parameters": _digest_of_tensors(tensors)} if tensors else {}
        check_same({name: str(value) for name, value in what.items()} | digests)


def digest_of_rows(rows: Iterable[Row]) -> str:
    """Return a hash of the tokens of rows."""
    found = hashlib.sha256()
    for row in rows:
        found.update(array("q", [row.task, len(row.input_ids), row.number]).tobytes())
        found.update(array("q", row.input_ids + row.target_ids).tobytes())
    return found.hexdigest()


def _digest_of_tensors(tensors: Sequence[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(raw.numpy().tobytes())
    return found.hexdigest()
