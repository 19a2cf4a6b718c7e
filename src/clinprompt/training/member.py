"""What a fit trains, and how: tuners and their rows, settings, loss, and the weight of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor

from clinprompt.backbone.bank import TargetStates
from clinprompt.backbone.gradients import Loss, RowWeights
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Batch, Row, collate
from clinprompt.batches.group_rows import group_within_limit, micro_batches
from clinprompt.batches.mixture import schedule
from clinprompt.settings.groups import FitSettings
from clinprompt.training.losses import task_loss


def task_terms(batch: Batch, states: TargetStates) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the only term of the task loss: the cross-entropy of the correct tokens."""
    return {"task": task_loss(states.logits, states.labels)}


TASK_LOSS = Loss(task_terms, {"task": 1.0})


def row_weights_of(settings: FitSettings) -> RowWeights:
    """Return the function from target tokens of rows to weights that the settings choose."""
    match settings.row_weights:
        case "row":
            return torch.ones_like
        case "token":
            return torch.clone
        case "capped":
            return partial(torch.clamp, max=settings.row_cap)


@dataclass(frozen=True, slots=True)
class FitSpec:
    """How to train: length, learning rate of each parameter group, loss, and how tasks are drawn.

    ``validate_every`` counts steps. 0 keeps the last state, or the mean of the states of the last
    ``averaged_share`` of the steps. ``groups`` has the group of each task; all groups are drawn
    equally often. Without it, all tasks are in one group.
    """

    settings: FitSettings
    rates: Mapping[str, float]
    seed: int
    loss: Loss = TASK_LOSS
    sampling_temperature: float = 1.0
    validate_every: int = 0
    groups: Sequence[str] = ()
    averaged_share: float = 0.0
    is_checkpointed: bool = True

    def described(self) -> str:
        """Return all values as text, the loss by the weights of its terms."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return str(values | {"loss": dict(self.loss.weights)})


@dataclass(frozen=True, slots=True)
class FitMember:
    """One tuner to train: its name in the log, and its rows, ``rows[k]`` for each task k.

    ``validation`` rows choose the best state if the spec says how often to validate. ``tasks`` are
    the names of the tasks for error messages, if the name does not say them.
    """

    name: str
    tuner: Tuner
    rows: Sequence[Sequence[Row]]
    spec: FitSpec
    validation: Sequence[Row] = ()
    tasks: Sequence[str] = ()


def weight_of(rows: Sequence[Row], row_weights: RowWeights) -> int:
    """Return the sum of the weights of rows."""
    return int(row_weights(torch.tensor([len(row.target_ids) for row in rows])).sum())


def rows_by_step(member: FitMember, first_task: int) -> list[list[Row]]:
    """Draw the rows of each step, with the tasks of the member numbered from ``first_task``."""
    spec = member.spec
    drawn = schedule(
        [len(own) for own in member.rows],
        steps=spec.settings.steps,
        rows=spec.settings.rows,
        temperature=spec.sampling_temperature,
        seed=spec.seed,
        groups=spec.groups,
    )
    rows = [
        [replace(row, task=first_task + task) for row in own]
        for task, own in enumerate(member.rows)
    ]
    return [[rows[task][index] for task, index in step] for step in drawn]


def tasks_of(rows: Sequence[Row]) -> list[int]:
    """Return the tasks of rows, in ascending order."""
    return sorted({row.task for row in rows})


def batches_of(
    backbone: Backbone, rows: Sequence[Row], max_tokens: int, *, prompt_tokens: int = 0
) -> list[Batch]:
    """Divide rows into batches of at most ``max_tokens`` tokens each.

    ``prompt_tokens`` counts for each packed row: a prompt between input and answer is read again
    with every row. Padded batches count text tokens only.
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
