"""Train one tuner on the rows of its tasks: the recipe of teachers, adaptation and baselines.

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
from clinprompt.batches.encode import Batch, Row, collate, micro_batches, packs
from clinprompt.batches.mixture import schedule
from clinprompt.config import FitSettings
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
    settings = exercise.settings
    course = schedule(
        [len(own) for own in rows],
        steps=settings.steps,
        rows=settings.rows,
        temperature=exercise.sampling_temperature,
        seed=exercise.seed,
    )

    def step(number: int) -> StepResult:
        chosen = [rows[task][index] for task, index in course[number]]
        terms: Terms = {}
        loss = exercise.objective(len(chosen), terms)
        tasks = sorted({row.task for row in chosen})
        prompts = tuner.prompts(tasks)
        own = prompts.shape[1] if prompts is not None and tuner.placement == "suffix" else 0
        batches = batches_of(backbone, chosen, settings.micro_batch_tokens, prompt_tokens=own)
        value = accumulate_gradients(
            backbone.model, prompts, tasks, batches, loss, placement=tuner.placement
        )
        num_real = sum(len(row) for row in chosen)
        terms["padding"] = _padding(backbone, batches, num_real)
        return StepResult(value, num_real, terms)

    plan = Plan(
        steps=settings.steps,
        rates=exercise.rates,
        warmup_steps=settings.warmup_steps,
        decay=settings.decay,
        clip_norm=settings.clip_norm,
        validate_every=exercise.validate_every if validation else 0,
        checkpoint_every=settings.checkpoint_every,
    )
    return fit(
        tuner.parameter_groups(),
        step,
        plan,
        place,
        validate=lambda: mean_loss(backbone, tuner, validation),
    )


@torch.no_grad()
def mean_loss(
    backbone: Backbone, tuner: Tuner, rows: Sequence[Row], *, max_tokens: int = 4096
) -> float:
    """Return the task loss over rows, every row counting the same, in nats a target token."""
    tasks = sorted({row.task for row in rows})
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
        groups = packs([len(row) + prompt_tokens for row in rows], max_tokens=max_tokens)
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
