"""The training loop of every method. It takes functions and knows nothing of prompts.

It can train several things side by side. It owns changing state: the parameters it is given, their
optimizers and its own progress.
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
from clinprompt.training.checkpoint import Progress, State, load_checkpoint, save_checkpoint
from clinprompt.training.optim import Decay, build_optimizer, rate_factor, set_rates
from clinprompt.training.progress import Reporter, Silent
from clinprompt.training.runlog import RunLog


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train; see ``settings.groups.FitSettings`` for units."""

    steps: int
    rates: Mapping[str, float]
    warmup_steps: int = 0
    decay: Decay = "linear"
    clip_norm: float = 1.0
    validate_every: int = 0
    checkpoint_every: int = 25


@dataclass(frozen=True, slots=True)
class PhaseFiles:
    """Where a phase of training is written: its log and its checkpoint file.

    ``phase`` is the name that the reporter shows.
    """

    phase: str
    log: RunLog
    checkpoint: Path
    reporter: Reporter = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did: its loss, how many real tokens it read, and further values for the log."""

    loss: float
    tokens: int
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trainable:
    """Something to train: its name in the log, its parameters by group, and its schedule.

    If ``schedule.validate_every`` is not 0, training ends with the parameters for which
    ``validate`` returned the lowest loss.
    """

    name: str
    groups: Mapping[str, Sequence[nn.Parameter]]
    schedule: Schedule
    validate: Callable[[], float] | None = None


Step = Callable[[int, Sequence[int]], Sequence[StepResult]]


def train(trained: Sequence[Trainable], step: Step, files: PhaseFiles) -> list[Progress]:
    """Train each thing until its last step, starting from the checkpoint if there is one.

    ``step(number, active)`` computes step ``number``, counted from 0: it adds gradients to the
    parameters of those things, given by position, that still have steps left, and returns a result
    for each of them. Each thing has its own rates, gradient norm and lines in the log; the duration
    of a step is divided among them by tokens. One checkpoint file holds all of them and is written
    as often as the first schedule says. It stays: the caller deletes it once the results are saved.

    Raises:
        RunError: a loss or a gradient is not finite.
    """
    trainers = [_Trainer(one) for one in trained]
    number, steps = _resume(trainers, files), max(one.schedule.steps for one in trained)
    while number < steps:
        _take_step(trainers, step, number, files)
        number += 1
        for trainer in trainers:
            trainer.validate(number, files.log)
        if number % trained[0].schedule.checkpoint_every == 0:
            save_checkpoint(files.checkpoint, [trainer.state for trainer in trainers])
    for trainer in trainers:
        trainer.restore_best()
    return [trainer.state.progress for trainer in trainers]


def _resume(trainers: Sequence["_Trainer"], files: PhaseFiles) -> int:
    """Load the checkpoint if there is one; return the number of finished steps."""
    states, steps = [one.state for one in trainers], max(one.schedule.steps for one in trainers)
    if files.checkpoint.is_file():
        load_checkpoint(files.checkpoint, states)
    done = max(state.progress.step for state in states)
    if files.checkpoint.is_file():
        files.reporter.say(f"{files.phase}: resuming after step {done} of {steps}")
    for trainer in trainers:
        files.log.forget(trainer.name, after=trainer.state.progress.step)
    files.reporter.begin(files.phase, total=steps, done=done)
    return done


def _take_step(trainers: Sequence["_Trainer"], step: Step, number: int, files: PhaseFiles) -> None:
    """Take one step and log it. If a loss or gradient is not finite, no parameter changes."""
    started = perf_counter()
    active = [index for index, one in enumerate(trainers) if number < one.schedule.steps]
    for index in active:
        trainers[index].prepare(number)
    results = step(number, active)
    both = [(trainers[index], result) for index, result in zip(active, results, strict=True)]
    norms = [trainer.clip(result.loss, number + 1) for trainer, result in both]
    for trainer, _ in both:
        trainer.state.optimizer.step()
    seconds, tokens = perf_counter() - started, sum(result.tokens for result in results)
    for (trainer, result), norm in zip(both, norms, strict=True):
        trainer.count(result, norm, seconds * result.tokens / tokens, files.log)
    loss = fmean(result.loss for result in results)
    files.reporter.advance(loss=loss, tokens_per_second=tokens / seconds)


class _Trainer:
    """One thing to train, with the state that changes from step to step."""

    def __init__(self, trained: Trainable) -> None:
        optimizer = build_optimizer(trained.groups, trained.schedule.rates)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.name, self.schedule = trained.name, trained.schedule
        self._validate = trained.validate
        self.state = State(parameters, optimizer)

    def prepare(self, number: int) -> None:
        """Set the learning rates of a step and clear the gradients."""
        schedule, optimizer = self.schedule, self.state.optimizer
        factor = rate_factor(
            number,
            steps=schedule.steps,
            warmup_steps=schedule.warmup_steps,
            decay=schedule.decay,
        )
        set_rates(optimizer, schedule.rates, factor)
        optimizer.zero_grad()

    def clip(self, loss: float, step: int) -> float:
        """Scale the gradient down to the norm of the schedule; return its norm before."""
        norm = float(clip_grad_norm_(self.state.parameters, self.schedule.clip_norm))
        _check_finite(loss, norm, self.name, step)
        return norm

    def count(self, result: StepResult, norm: float, seconds: float, log: RunLog) -> None:
        """Add a step to the progress and the log."""
        progress = self.state.progress
        progress.step += 1
        progress.tokens += result.tokens
        progress.seconds += seconds
        progress.last_loss = result.loss
        measured = {"gradient_norm": norm, "seconds": seconds, "tokens": float(result.tokens)}
        log.add(self.name, progress.step, {"loss": result.loss, **result.terms, **measured})

    def validate(self, step: int, log: RunLog) -> None:
        """Validate if it is time to; keep a copy of the parameters if they are the best so far."""
        validate, every, steps = self._validate, self.schedule.validate_every, self.schedule.steps
        if not (validate and every and step <= steps and (step % every == 0 or step == steps)):
            return
        loss, progress = validate(), self.state.progress
        log.add(self.name, step, {"validation_loss": loss})
        if loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, step
            progress.best = [p.detach().clone() for p in self.state.parameters]

    @torch.no_grad()
    def restore_best(self) -> None:
        """Restore the best parameters if any were kept."""
        for parameter, best in zip(self.state.parameters, self.state.progress.best, strict=False):
            parameter.copy_(best)


def _check_finite(loss: float, norm: float, name: str, step: int) -> None:
    for what, value in (("loss", loss), ("gradient", norm)):
        if not math.isfinite(value):
            raise RunError(f"{name}: the {what} is {value} at step {step}; lower the learning rate")
