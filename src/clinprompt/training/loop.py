"""The one training loop, for every method. It takes functions and has never heard of prompts.

Owns changing state: the parameters it is given, their optimizer and its own progress.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from clinprompt.errors import RunError
from clinprompt.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from clinprompt.training.optim import Decay, build_optimizer, rate_factor, set_rates
from clinprompt.training.progress import Reporter, Silent
from clinprompt.training.runlog import RunLog


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train; see ``config.FitSettings`` for units."""

    steps: int
    rates: Mapping[str, float]
    warmup_steps: int = 0
    decay: Decay = "linear"
    clip_norm: float = 1.0
    validate_every: int = 0
    checkpoint_every: int = 25


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is written: the phase's name, the log, and the checkpoint file."""

    phase: str
    log: RunLog
    checkpoint: Path
    reporter: Reporter = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did: its loss, the terms of it, and how many real tokens it read."""

    loss: float
    tokens: int
    terms: Mapping[str, float] = field(default_factory=dict)


Step = Callable[[int], StepResult]


def fit(
    groups: Mapping[str, Sequence[nn.Parameter]],
    step: Step,
    plan: Plan,
    place: Place,
    *,
    validate: Callable[[], float] | None = None,
) -> Progress:
    """Train until ``plan.steps``, from the checkpoint where there is one; return the progress.

    ``step`` adds gradients of step number n to the parameters. With ``plan.validate_every``, the
    parameters end as they were where ``validate`` was lowest. The checkpoint stays; the caller
    deletes it once the result is safe.

    Raises:
        RunError: the loss is not a number any more.
    """
    optimizer = build_optimizer(groups, plan.rates)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    progress = Progress()
    if place.checkpoint.is_file():
        progress = load_checkpoint(place.checkpoint, parameters, optimizer)
        place.reporter.say(f"{place.phase}: going on after step {progress.step} of {plan.steps}")
    place.log.forget(place.phase, after=progress.step)
    place.reporter.begin(place.phase, total=plan.steps, done=progress.step)
    trainer = _Trainer(parameters, optimizer, progress)
    while progress.step < plan.steps:
        values = trainer.take(step, plan, place.phase)
        place.log.add(place.phase, progress.step, values)
        speed = values["tokens"] / values["seconds"]
        place.reporter.advance(loss=values["loss"], tokens_per_second=speed)
        if validate and _is_due(progress.step, plan.validate_every, plan.steps):
            _keep_best(parameters, validate(), progress, place)
        if progress.step % plan.checkpoint_every == 0:
            save_checkpoint(place.checkpoint, parameters, optimizer, progress)
    _put_best_back(parameters, progress)
    return progress


@dataclass
class _Trainer:
    """The state that changes from step to step."""

    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    progress: Progress

    def take(self, step: Step, plan: Plan, phase: str) -> dict[str, float]:
        """Take one step; return what it measured. No number but a finite one changes anything."""
        started, number = perf_counter(), self.progress.step
        factor = rate_factor(
            number, steps=plan.steps, warmup_steps=plan.warmup_steps, decay=plan.decay
        )
        set_rates(self.optimizer, plan.rates, factor)
        self.optimizer.zero_grad()
        result = step(number)
        norm = float(clip_grad_norm_(self.parameters, plan.clip_norm))
        _check_finite(result.loss, norm, phase, number + 1)
        self.optimizer.step()
        seconds = perf_counter() - started
        self.progress.step += 1
        self.progress.tokens += result.tokens
        self.progress.seconds += seconds
        self.progress.last_loss = result.loss
        measured = {"gradient_norm": norm, "seconds": seconds, "tokens": float(result.tokens)}
        return {"loss": result.loss, **result.terms, **measured}


def _check_finite(loss: float, norm: float, phase: str, step: int) -> None:
    for name, value in (("loss", loss), ("gradient", norm)):
        if not math.isfinite(value):
            raise RunError(
                f"{phase}: the {name} is {value} at step {step}; lower the learning rate"
            )


def _is_due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def _keep_best(
    parameters: Sequence[nn.Parameter], loss: float, progress: Progress, place: Place
) -> None:
    place.log.add(place.phase, progress.step, {"validation_loss": loss})
    if loss < progress.best_loss:
        progress.best_loss, progress.best_step = loss, progress.step
        progress.best = [p.detach().clone() for p in parameters]


@torch.no_grad()
def _put_best_back(parameters: Sequence[nn.Parameter], progress: Progress) -> None:
    for parameter, best in zip(parameters, progress.best, strict=False):
        parameter.copy_(best)
