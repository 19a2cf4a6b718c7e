"""Train one tuner on the rows of its tasks: used for teachers, adaptation and baselines.

Axes: K tasks, B rows of a step, N target tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from clinprompt.backbone.bank import TargetStates, make_bank, target_states
from clinprompt.backbone.gradients import Loss, accumulate_gradients
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Batch, Row, collate, group_within_limit, micro_batches
from clinprompt.batches.mixture import schedule
from clinprompt.settings.groups import FitSettings, Placement
from clinprompt.training.checkpoint import Progress
from clinprompt.training.loop import Place, Plan, StepResult, fit
from clinprompt.training.losses import task_loss, token_weights

Terms = dict[str, float]
Objective = Callable[[int, Terms], Loss]


def task_objective(num_rows: int, terms: Terms) -> Loss:  # noqa: ARG001 - an Objective
    """Return the loss of the right answers alone."""

    def loss(_: Batch, states: TargetStates) -> torch.Tensor:
        weights = token_weights(states.rows, num_rows=num_rows)
        return task_loss(states.logits, states.labels, weights)

    return loss


@dataclass(frozen=True, slots=True)
class Exercise:
    """How to train: length, learning rate of each parameter group, loss, and how tasks are drawn.

    ``objective`` makes the loss of a step with so many rows.
    """

    settings: FitSettings
    rates: Mapping[str, float]
    seed: int
    objective: Objective = task_objective
    sampling_temperature: float = 1.0
    validate_every: int = 0


def tune(
    backbone: Backbone,
    tuner: Tuner,
    rows: Sequence[Sequence[Row]],
    *,
    exercise: Exercise,
    place: Place,
    validation: Sequence[Row] = (),
) -> Progress:
    """Train a tuner on ``rows[k]`` of each task k; return how it went.

    Raises:
        RunError: the loss is not a number any more, or the disk is full.
    """
    steps = course(exercise, rows)

    def step(number: int) -> StepResult:
        chosen = steps[number]
        terms: Terms = {}
        value, terms["padding"] = add_gradients(
            backbone,
            chosen,
            prompts=tuner.prompts(tasks_of(chosen)),
            placement=tuner.placement,
            loss=exercise.objective(len(chosen), terms),
            max_tokens=exercise.settings.micro_batch_tokens,
        )
        return StepResult(value, sum(len(row) for row in chosen), terms)

    return fit(
        tuner.parameter_groups(),
        step,
        plan_of(exercise, has_validation=bool(validation)),
        place,
        validate=lambda: mean_loss(backbone, tuner, validation),
    )


def course(exercise: Exercise, rows: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Return the rows of each step, drawn from ``rows[k]`` of each task k."""
    drawn = schedule(
        [len(own) for own in rows],
        steps=exercise.settings.steps,
        rows=exercise.settings.rows,
        temperature=exercise.sampling_temperature,
        seed=exercise.seed,
    )
    return [[rows[task][index] for task, index in step] for step in drawn]


def plan_of(exercise: Exercise, *, has_validation: bool = False) -> Plan:
    """Return an exercise as the training loop takes it."""
    settings = exercise.settings
    return Plan(
        steps=settings.steps,
        rates=exercise.rates,
        warmup_steps=settings.warmup_steps,
        decay=settings.decay,
        clip_norm=settings.clip_norm,
        validate_every=exercise.validate_every if has_validation else 0,
        checkpoint_every=settings.checkpoint_every,
    )


def tasks_of(rows: Sequence[Row]) -> list[int]:
    """Return the tasks that rows are of, in ascending order."""
    return sorted({row.task for row in rows})


def add_gradients(
    backbone: Backbone,
    rows: Sequence[Row],
    *,
    prompts: torch.Tensor | None,
    placement: Placement,
    loss: Loss,
    max_tokens: int,
) -> tuple[float, float]:
    """Add the gradients of rows under the prompts of their tasks, which are as ``tasks_of`` says.

    Returns the loss, and the share of padding among the positions of rows.
    """
    own = prompts.shape[1] if prompts is not None and placement == "suffix" else 0
    batches = batches_of(backbone, rows, max_tokens, prompt_tokens=own)
    value = accumulate_gradients(
        backbone.model, prompts, tasks_of(rows), batches, loss, placement=placement
    )
    return value, _padding(backbone, batches, sum(len(row) for row in rows))


@torch.no_grad()
def mean_loss(
    backbone: Backbone, tuner: Tuner, rows: Sequence[Row], *, max_tokens: int = 4096
) -> float:
    """Return the task loss over rows, every row counting the same, in nats a target token."""
    tasks = tasks_of(rows)
    bank = make_bank(backbone.model, tuner.prompts(tasks), tuner.placement)
    order = torch.tensor(tasks, device=backbone.device)
    total, terms = 0.0, Terms()
    own = 0 if bank.suffix is None else bank.num_positions
    for batch in batches_of(backbone, rows, max_tokens, prompt_tokens=own):
        owners = torch.searchsorted(order, batch.tasks)
        states = target_states(backbone.model, batch, bank, owners)
        total += float(task_objective(len(rows), terms)(batch, states))
    return total


def batches_of(
    backbone: Backbone, rows: Sequence[Row], max_tokens: int, *, prompt_tokens: int = 0
) -> list[Batch]:
    """Return rows as batches that are read one at a time, of at most so many tokens each.

    ``prompt_tokens`` are those that each row gets on top, where prompts go behind the input.
    """
    if is_packable(backbone.model):
        groups = group_within_limit(
            [len(row) + prompt_tokens for row in rows], max_tokens=max_tokens
        )
    else:
        groups = micro_batches(rows, max_tokens=max_tokens)
    return [
        collate([rows[index] for index in own], pad_id=backbone.pad_id).to(backbone.device)
        for own in groups
    ]


def _padding(backbone: Backbone, batches: Sequence[Batch], num_real: int) -> float:
    """Return the share of padding among the positions of rows that a step computes."""
    if is_packable(backbone.model):
        return 0.0
    return 1 - num_real / sum(batch.input_ids.numel() for batch in batches)
