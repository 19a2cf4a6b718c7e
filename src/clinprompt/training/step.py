"""One step of a fit: the gradients of all tuners, in micro-batches that fit into memory.

One step reads the rows of all tuners at once, those of one placement together. Several processes
that torchrun started divide the rows, see ``divided``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from clinprompt.backbone.gradients import LossValues, StepPrompts, accumulate_gradients
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.memory import is_out_of_memory, release
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.ranks import LostProcessError, ranks
from clinprompt.backbone.tensor_parallel import num_parts
from clinprompt.batches.encode import Batch, Row
from clinprompt.training.divided import Attempt, add_up_gradients, of_all, own_rows, row_processes
from clinprompt.training.loop import LostStepError, StepResult
from clinprompt.training.member import (
    FitMember,
    batches_of,
    row_weights_of,
    tasks_of,
    weight_of,
)
from clinprompt.training.progress import Reporter


@dataclass(frozen=True, slots=True)
class NumberedMember:
    """A member with its rows of each step; its task numbers begin at ``first_task``."""

    member: FitMember
    first_task: int
    rows_by_step: Sequence[Sequence[Row]]

    def prompts(self, rows: Sequence[Row]) -> Tensor | None:
        """Return the prompts [K, P, W] of the tasks of rows, in ascending order."""
        return self.member.tuner.prompts([task - self.first_task for task in tasks_of(rows)])

    def names(self, step: int) -> list[str]:
        """Return the names of the tasks of a step, if they are known."""
        tasks = [task - self.first_task for task in tasks_of(self.rows_by_step[step])]
        return [self.member.tasks[task] for task in tasks if self.member.tasks]

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters that are trained."""
        return [p for group in self.member.tuner.parameter_groups().values() for p in group]

    def forget_gradients(self) -> None:
        """Remove what was added to the gradients."""
        for parameter in self.parameters():
            parameter.grad = None


@dataclass
class MicroBatchLimit:
    """The most tokens of a micro-batch. It changes: it is halved when memory does not suffice."""

    tokens: int
    reporter: Reporter

    def halve(self, largest: int) -> None:
        """Halve the size of micro-batches, the largest of which did not fit."""
        self.tokens = max(1, min(self.tokens, largest) // 2)
        self.reporter.say(
            f"not enough memory: the step is repeated with micro-batches of {self.tokens} tokens, "
            "which changes results by rounding only; set micro_batch_tokens to this in another run"
        )


def take_step(
    backbone: Backbone,
    members: Sequence[NumberedMember],
    limit: MicroBatchLimit,
    number: int,
    active: Sequence[int],
) -> list[StepResult]:
    """Add the gradients of step ``number`` for the active members, placement by placement."""
    results: dict[int, StepResult] = {}
    placements = {index: members[index].member.tuner.placement for index in active}
    for placement in sorted(set(placements.values())):
        own = [index for index in active if placements[index] == placement]
        found = _add_gradients(backbone, [members[index] for index in own], limit, number)
        results |= zip(own, found, strict=True)
    return [results[index] for index in active]


def _add_gradients(
    backbone: Backbone, members: Sequence[NumberedMember], limit: MicroBatchLimit, number: int
) -> list[StepResult]:
    """Add the gradients of step ``number`` for members whose prompts have the same placement.

    Several processes divide the rows, and all end with the same gradients. If memory does not
    suffice in one of them, nothing of the attempt is kept, and the next one has smaller
    micro-batches.

    Raises:
        LostStepError: memory does not suffice for one row at a time, or another process has ended.
    """
    chosen = [one.rows_by_step[number] for one in members]
    terms = members[0].member.spec.loss.weights
    process = row_processes(backbone.model)
    while True:
        attempt = _attempt(backbone, members, chosen, limit.tokens)
        try:
            found = of_all(attempt, terms, process)
            if not found.full_at:
                trained = [parameter for one in members for parameter in one.parameters()]
                add_up_gradients(trained, process)
                return _results(backbone, members, chosen, found)
        except LostProcessError as error:
            raise LostStepError(str(error)) from error
        if found.was_one_row:
            longest = max(len(row) for own in chosen for row in own)
            raise LostStepError(
                f"{members[0].member.name}: not enough memory at step {number + 1} for one row "
                f"of at most {longest} tokens; free some and run the same command "
                "again, or lower data.max_input_tokens in a new folder (--out)"
            )
        # From here on, nothing refers to the tensors of the failed attempt.
        limit.halve(found.full_at)
        for one in members:
            one.forget_gradients()
        release(backbone.device)


def _attempt(
    backbone: Backbone,
    members: Sequence[NumberedMember],
    chosen: Sequence[Sequence[Row]],
    max_tokens: int,
) -> Attempt:
    """Add the gradients of the rows of this process; return what it computed of the step."""
    spec = members[0].member.spec
    loss = replace(spec.loss, row_weights=row_weights_of(spec.settings))
    share = own_rows(chosen, row_processes(backbone.model))
    rows = [row for own in share for row in own]
    nothing = [LossValues(0.0, dict.fromkeys(loss.weights, 0.0)) for _ in members]
    if not rows:
        return Attempt(nothing)
    prompts = _step_prompts(members, share)
    batches = _micro_batches(backbone, rows, prompts, max_tokens)
    sizes = [batch.input_ids.numel() for batch in batches]
    weights = [weight_of(own, loss.row_weights) for own in chosen]
    totals = torch.tensor(weights, device=backbone.device)
    try:
        values = accumulate_gradients(backbone.model, prompts, batches, loss, totals=totals)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if num_parts(backbone.model) > 1:
            raise LostStepError(
                f"{members[0].member.name}: not enough memory in {ranks().name}; start more "
                "processes, or lower micro_batch_tokens in a new folder (--out)"
            ) from error
        return Attempt(nothing, full_at=max(sizes), was_one_row=len(batches) == len(rows))
    return Attempt(values, num_positions=sum(sizes))


def _micro_batches(
    backbone: Backbone, rows: Sequence[Row], prompts: StepPrompts, max_tokens: int
) -> list[Batch]:
    vectors = prompts.vectors if prompts.placement == "suffix" else None
    prompt_tokens = 0 if vectors is None else vectors.shape[1]
    return batches_of(backbone, rows, max_tokens, prompt_tokens=prompt_tokens)


def _results(
    backbone: Backbone,
    members: Sequence[NumberedMember],
    chosen: Sequence[Sequence[Row]],
    found: Attempt,
) -> list[StepResult]:
    """Return the result of each member from what all processes computed."""
    num_real = sum(len(row) for own in chosen for row in own)
    padding = 0.0 if is_packable(backbone.model) else 1 - num_real / found.num_positions
    is_composed = len(members[0].member.spec.loss.weights) > 1  # a single term is the loss itself
    return [
        StepResult(
            value.total,
            sum(len(row) for row in own),
            {**(value.terms if is_composed else {}), "padding": padding},
        )
        for value, own in zip(found.values, chosen, strict=True)
    ]


def _step_prompts(
    members: Sequence[NumberedMember], chosen: Sequence[Sequence[Row]]
) -> StepPrompts:
    """Return the prompts of all tasks of the chosen rows of each member."""
    tasks = [tasks_of(rows) for rows in chosen]
    vectors = [one.prompts(rows) for one, rows in zip(members, chosen, strict=True) if rows]
    if len(members) == 1:
        joined = vectors[0]
    else:
        present = [own for own in vectors if own is not None]
        assert len(present) == len(vectors), "weights of the backbone are trained alone"
        joined = torch.cat(present)
    return StepPrompts(
        joined,
        [task for own in tasks for task in own],
        [number for number, own in enumerate(tasks) for _ in own],
        members[0].member.tuner.placement,
    )
