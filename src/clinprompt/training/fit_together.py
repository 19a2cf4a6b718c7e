"""Train several prompts side by side, each for a task of its own, in one step each time.

The backbone is frozen, so no prompt feels another: each has its own loss, gradient norm and rates,
and ends as it would alone, within rounding. A step reads the rows of all of them at once.

Axes: N target tokens, M prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clinprompt.backbone.bank import TargetStates
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Batch, Row
from clinprompt.training.checkpoint import Progress
from clinprompt.training.fit import Exercise, add_gradients, course, mean_loss, plan_of
from clinprompt.training.loop import Member, Place, StepResult, fit_together
from clinprompt.training.losses import token_losses, token_weights


@dataclass(frozen=True, slots=True)
class Training:
    """One of several trainings: the tuner of one prompt, its task's rows, its name in the log.

    The trainings of one group differ in steps, rates and seeds alone, not in other settings.
    ``validation`` rows choose its best state, if its exercise validates.
    """

    tuner: Tuner
    rows: Sequence[Row]
    exercise: Exercise
    phase: str
    validation: Sequence[Row] = ()

    def member(self, backbone: Backbone) -> Member:
        """Return what the training loop is to know of it."""
        return Member(
            self.phase,
            self.tuner.parameter_groups(),
            plan_of(self.exercise, has_validation=bool(self.validation)),
            lambda: mean_loss(backbone, self.tuner, self.validation),
        )


def tune_together(
    backbone: Backbone, trainings: Sequence[Training], *, place: Place
) -> list[Progress]:
    """Train every prompt on its own rows; return how each went. See ``tune`` for one alone.

    Raises:
        RunError: a loss is not a number any more, or the disk is full.
    """
    courses = [
        course(one.exercise, [[replace(row, task=number) for row in one.rows]])
        for number, one in enumerate(trainings)
    ]

    def step(number: int, acting: Sequence[int]) -> list[StepResult]:
        chosen = {index: courses[index][number] for index in acting}
        results: dict[int, StepResult] = {}
        for placement in sorted({trainings[index].tuner.placement for index in acting}):
            own = [index for index in acting if trainings[index].tuner.placement == placement]
            results |= _step(backbone, trainings, {index: chosen[index] for index in own})
        return [results[index] for index in acting]

    return fit_together([one.member(backbone) for one in trainings], step, place)


def _step(
    backbone: Backbone, trainings: Sequence[Training], chosen: dict[int, list[Row]]
) -> dict[int, StepResult]:
    """Add the gradients of chosen rows, given by training, all under prompts in one place."""
    own = [trainings[index] for index in chosen]
    settings, placement = own[0].exercise.settings, own[0].tuner.placement
    losses = _Losses(list(chosen), settings.rows, backbone.device)
    _, padding = add_gradients(
        backbone,
        [row for rows in chosen.values() for row in rows],
        prompts=torch.cat([_prompt(one.tuner) for one in own]),
        placement=placement,
        loss=losses,
        max_tokens=settings.micro_batch_tokens,
    )
    results = zip(chosen.items(), losses.values(), strict=True)
    return {
        index: StepResult(value, sum(len(row) for row in rows), {"padding": padding})
        for (index, rows), value in results
    }


def _prompt(tuner: Tuner) -> Tensor:
    """Return the one prompt [1, P, W] of a tuner."""
    prompts = tuner.prompts([0])
    assert prompts is not None, "weights are trained alone"
    return prompts


class _Losses:
    """The task loss summed over M prompts; keeps what each of them adds to it.

    ``indices`` are the prompts, as rows name them; each has ``num_rows`` rows in the whole step.
    """

    def __init__(self, indices: Sequence[int], num_rows: int, device: torch.device) -> None:
        self._indices = torch.tensor(indices, device=device)[:, None]
        self._num_rows = num_rows
        self._parts: list[Tensor] = []

    def __call__(self, batch: Batch, states: TargetStates) -> Tensor:
        weights = token_weights(states.rows, num_rows=self._num_rows)
        losses = token_losses(states.logits, states.labels, weights)
        is_own = self._indices == batch.tasks[states.rows]  # [M, N]
        self._parts.append(torch.where(is_own, losses.detach(), 0.0).sum(dim=1))
        return losses.sum()

    def values(self) -> list[float]:
        """Return the loss of each prompt so far."""
        values: list[float] = torch.stack(self._parts).sum(dim=0).tolist()
        return values
