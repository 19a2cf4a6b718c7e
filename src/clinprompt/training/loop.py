"""The one training loop, for every method. It takes functions and has never heard of prompts.

Several things may be trained side by side, in one step each time. Owns changing state: the
parameters it is given, their optimizers and its own progress.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from time import perf_counter

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from clinprompt.errors import RunError
from clinprompt.training.checkpoint import (
    Progress,
    State,
    load_checkpoint,
    save_checkpoint,
)
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


@dataclass(frozen=True, slots=True)
class Member:
    """One of the things that are trained side by side: its name in the log, parameters and plan.

    With ``plan.validate_every``, its parameters end as they were where ``validate`` was lowest.
    """

    phase: str
    groups: Mapping[str, Sequence[nn.Parameter]]
    plan: Plan
    validate: Callable[[], float] | None = None


Step = Callable[[int], StepResult]
JointStep = Callable[[int, Sequence[int]], Sequence[StepResult]]


def fit(
    groups: Mapping[str, Sequence[nn.Parameter]],
    step: Step,
    plan: Plan,
    place: Place,
    *,
    validate: Callable[[], float] | None = None,
) -> Progress:
    """Train one thing; see ``fit_together``. ``step`` adds the gradients of step number n.

    Raises:
        RunError: the loss is not a number any more.
    """
    member = Member(place.phase, groups, plan, validate)
    [progress] = fit_together([member], lambda number, _: [step(number)], place)
    return progress


def fit_together(members: Sequence[Member], step: JointStep, place: Place) -> list[Progress]:
    """Train until each member's ``plan.steps``, from the checkpoint where there is one.

    ``step`` adds gradients of step number n to the parameters of those members, given by number,
    that have not left yet. Each member has its own rates, gradient norm and rows of the log; its
    seconds are its share of a step's by tokens. One checkpoint holds all, and is written as often
    as the first member's plan says. It stays; the caller deletes it once the results are safe.

    Raises:
        RunError: a loss is not a number any more.
    """
    trainers = [_Trainer(member) for member in members]
    number, steps = _resume(trainers, place), max(member.plan.steps for member in members)
    while number < steps:
        _take(trainers, step, number, place)
        number += 1
        for trainer in trainers:
            trainer.validate(number, place.log)
        if number % members[0].plan.checkpoint_every == 0:
            save_checkpoint(place.checkpoint, [trainer.state for trainer in trainers])
    for trainer in trainers:
        trainer.put_best_back()
    return [trainer.state.progress for trainer in trainers]


def _resume(trainers: Sequence["_Trainer"], place: Place) -> int:
    """Go back to the checkpoint, if there is one; return how many steps are done."""
    states, steps = [one.state for one in trainers], max(one.plan.steps for one in trainers)
    if place.checkpoint.is_file():
        load_checkpoint(place.checkpoint, states)
    done = max(state.progress.step for state in states)
    if place.checkpoint.is_file():
        place.reporter.say(f"{place.phase}: going on after step {done} of {steps}")
    for trainer in trainers:
        place.log.forget(trainer.member.phase, after=trainer.state.progress.step)
    place.reporter.begin(place.phase, total=steps, done=done)
    return done


def _take(trainers: Sequence["_Trainer"], step: JointStep, number: int, place: Place) -> None:
    """Take one step and log it. No number but a finite one changes anything."""
    started = perf_counter()
    acting = [index for index, one in enumerate(trainers) if number < one.plan.steps]
    for index in acting:
        trainers[index].prepare(number)
    results = step(number, acting)
    both = [(trainers[index], result) for index, result in zip(acting, results, strict=True)]
    norms = [trainer.clip(result.loss, number + 1) for trainer, result in both]
    for trainer, _ in both:
        trainer.state.optimizer.step()
    seconds, tokens = perf_counter() - started, sum(result.tokens for result in results)
    for (trainer, result), norm in zip(both, norms, strict=True):
        trainer.count(result, norm, seconds * result.tokens / tokens, place.log)
    loss = fmean(result.loss for result in results)
    place.reporter.advance(loss=loss, tokens_per_second=tokens / seconds)


class _Trainer:
    """One member with the state that changes from step to step."""

    def __init__(self, member: Member) -> None:
        optimizer = build_optimizer(member.groups, member.plan.rates)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.member, self.plan = member, member.plan
        self.state = State(parameters, optimizer)

    def prepare(self, number: int) -> None:
        """Set the rates of a step, with no gradient yet."""
        plan, optimizer = self.plan, self.state.optimizer
        factor = rate_factor(
            number, steps=plan.steps, warmup_steps=plan.warmup_steps, decay=plan.decay
        )
        set_rates(optimizer, plan.rates, factor)
        optimizer.zero_grad()

    def clip(self, loss: float, step: int) -> float:
        """Scale the gradient down to the plan's norm; return the norm that it had."""
        norm = float(clip_grad_norm_(self.state.parameters, self.plan.clip_norm))
        _check_finite(loss, norm, self.member.phase, step)
        return norm

    def count(self, result: StepResult, norm: float, seconds: float, log: RunLog) -> None:
        """Add a step to the progress and the log."""
        progress = self.state.progress
        progress.step += 1
        progress.tokens += result.tokens
        progress.seconds += seconds
        progress.last_loss = result.loss
        measured = {"gradient_norm": norm, "seconds": seconds, "tokens": float(result.tokens)}
        log.add(self.member.phase, progress.step, {"loss": result.loss, **result.terms, **measured})

    def validate(self, step: int, log: RunLog) -> None:
        """Keep the parameters of a step if it is time to and they are the best so far."""
        validate, every, steps = self.member.validate, self.plan.validate_every, self.plan.steps
        if not (validate and every and step <= steps and (step % every == 0 or step == steps)):
            return
        loss, progress = validate(), self.state.progress
        log.add(self.member.phase, step, {"validation_loss": loss})
        if loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, step
            progress.best = [p.detach().clone() for p in self.state.parameters]

    @torch.no_grad()
    def put_best_back(self) -> None:
        """Return to the best parameters, if any were kept."""
        for parameter, best in zip(self.state.parameters, self.state.progress.best, strict=False):
            parameter.copy_(best)


def _check_finite(loss: float, norm: float, phase: str, step: int) -> None:
    for name, value in (("loss", loss), ("gradient", norm)):
        if not math.isfinite(value):
            raise RunError(
                f"{phase}: the {name} is {value} at step {step}; lower the learning rate"
            )
