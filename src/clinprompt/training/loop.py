"""The training loop of every method. It takes functions and knows nothing of prompts.

It can train several things side by side. It owns changing state: the parameters it is given, their
optimizers and its own progress. Of several processes that train the same, only the first one writes
checkpoints.
"""

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from threading import current_thread, main_thread
from time import perf_counter

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from clinprompt.backbone.ranks import ranks
from clinprompt.errors import RunError
from clinprompt.training.checkpoint import Progress, State, resume, save_checkpoint
from clinprompt.training.divided import check_equal
from clinprompt.training.optim import Decay, build_optimizer, rate_factor, set_rates
from clinprompt.training.progress import Reporter, Silent
from clinprompt.training.runlog import RunLog

_ENDING = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


class LostStepError(RunError):
    """Signal a step that could not be taken. The state before it is whole and is kept."""


class DivergedError(LostStepError):
    """Signal a loss or a gradient that is not finite."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train; see ``settings.groups.FitSettings`` for units.

    ``checkpoint_every`` counts steps; 0: no checkpoint is written. ``averaged_steps`` counts the
    last steps over which the parameters are averaged; 0: the last state is the result.
    """

    steps: int
    rates: Mapping[str, float]
    warmup_steps: int = 0
    decay: Decay = "linear"
    clip_norm: float = 1.0
    validate_every: int = 0
    checkpoint_every: int = 25
    averaged_steps: int = 0


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
    ``validate`` returned the lowest loss. Otherwise it ends with their mean over the last
    ``schedule.averaged_steps`` states, or with the last state.
    ``tasks`` returns the names of the tasks of a step, counted from 0, if the name does not say
    them.
    """

    name: str
    groups: Mapping[str, Sequence[nn.Parameter]]
    schedule: Schedule
    validate: Callable[[], float] | None = None
    tasks: Callable[[int], Sequence[str]] = lambda _: ()


Step = Callable[[int, Sequence[int]], Sequence[StepResult]]


def train(trained: Sequence[Trainable], step: Step, files: PhaseFiles) -> list[Progress]:
    """Train each thing until its last step, starting from the checkpoint if there is one.

    ``step(number, active)`` computes step ``number``, counted from 0: it adds gradients to the
    parameters of those things, given by position, that still have steps left, and returns a result
    for each of them. Each thing has its own rates, gradient norm and lines in the log; the duration
    of a step is divided among them by tokens. One checkpoint file holds all of them and is written
    as often as the first schedule says, and when training is interrupted: by Ctrl-C, by a signal
    that exits, or by a step that cannot be taken. It stays: the caller deletes it once the results
    are saved.

    Raises:
        LostStepError: a loss or a gradient is not finite, or memory does not suffice for a row.
        RunError: a checkpoint is damaged, the disk is full, or the parameters of processes that
            train together are no longer the same.
    """
    trainers = [_Trainer(one) for one in trained]
    number, steps = _resume(trainers, files), max(one.schedule.steps for one in trained)
    begun, every = number, trained[0].schedule.checkpoint_every
    _check_equal(trainers)
    try:
        while number < steps:
            results = _gradients(trainers, step, number)
            with signals_deferred():
                _update(trainers, results, number, files.log)
                number += 1
                for trainer in trainers:
                    trainer.validate(number, files.log)
                if every and number % every == 0:
                    _check_equal(trainers)
                    _save(trainers, files)
            files.reporter.advance(**_progress(results))
    except (KeyboardInterrupt, SystemExit, LostStepError):
        if every and number > begun:
            _save(trainers, files)
        raise
    _check_equal(trainers)
    for trainer in trainers:
        trainer.restore_kept()
    return [trainer.state.progress for trainer in trainers]


def _save(trainers: Sequence["_Trainer"], files: PhaseFiles) -> None:
    """Save a checkpoint, if this is the first process."""
    if ranks().rank == 0:
        save_checkpoint(files.checkpoint, [trainer.state for trainer in trainers])


def _check_equal(trainers: Sequence["_Trainer"]) -> None:
    """Check that all processes have taken equally many steps and have the same parameters."""
    states = [trainer.state for trainer in trainers]
    steps = [state.progress.step for state in states]
    check_equal({"steps": steps}, [tensor for state in states for tensor in state.parameters])


def _resume(trainers: Sequence["_Trainer"], files: PhaseFiles) -> int:
    """Load the checkpoint if there is one; return the number of finished steps."""
    states, steps = [one.state for one in trainers], max(one.schedule.steps for one in trainers)
    is_resumed = resume(files.checkpoint, states, files.reporter.say)
    done = max(state.progress.step for state in states)
    if is_resumed:
        files.reporter.say(f"{files.phase}: resuming after step {done} of {steps}")
    for trainer in trainers:
        files.log.forget(trainer.name, after=trainer.state.progress.step)
    files.reporter.begin(files.phase, total=steps, done=done)
    return done


@dataclass(frozen=True, slots=True)
class _Results:
    """The results of a step by the position of each thing, and the seconds that it took."""

    by_index: Mapping[int, StepResult]
    started: float

    @property
    def tokens(self) -> int:
        """Return the tokens that the step read."""
        return sum(result.tokens for result in self.by_index.values())


def _gradients(trainers: Sequence["_Trainer"], step: Step, number: int) -> _Results:
    """Compute the gradients of a step; no parameter changes."""
    started = perf_counter()
    active = [index for index, one in enumerate(trainers) if number < one.schedule.steps]
    for index in active:
        trainers[index].prepare(number)
    return _Results(dict(zip(active, step(number, active), strict=True)), started)


def _update(trainers: Sequence["_Trainer"], found: _Results, number: int, log: RunLog) -> None:
    """Update the parameters and log the step. If anything is not finite, no parameter changes."""
    both = [(trainers[index], result) for index, result in found.by_index.items()]
    norms = [trainer.clip(result.loss, number) for trainer, result in both]
    for trainer, _ in both:
        trainer.state.optimizer.step()
    seconds = perf_counter() - found.started
    log.add_all(
        trainer.count(result, norm, seconds * result.tokens / found.tokens)
        for (trainer, result), norm in zip(both, norms, strict=True)
    )


def _progress(found: _Results) -> dict[str, float]:
    """Return what the reporter shows of a step."""
    loss = fmean(result.loss for result in found.by_index.values())
    seconds = perf_counter() - found.started
    return {"loss": loss, "tokens_per_second": found.tokens / seconds}


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and ending signals wait until the block ends, so that none leaves half a step."""
    if current_thread() is not main_thread():
        yield
        return
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number)}
    for number in before:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
    for number in caught[:1]:
        signal.raise_signal(number)


class _Trainer:
    """One thing to train, with the state that changes from step to step."""

    def __init__(self, trained: Trainable) -> None:
        optimizer = build_optimizer(trained.groups, trained.schedule.rates)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.name, self.schedule = trained.name, trained.schedule
        self._validate, self._tasks = trained.validate, trained.tasks
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

    def clip(self, loss: float, number: int) -> float:
        """Scale the gradient down to the norm of the schedule; return its norm before.

        Raises:
            DivergedError: the loss or the norm is not finite.
        """
        norm = float(clip_grad_norm_(self.state.parameters, self.schedule.clip_norm))
        for what, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                raise DivergedError(
                    f"{self.name}: the {what} is {value} at step {number + 1}, "
                    f"{self._conditions(number)}; lower the learning rate in a new folder (--out), "
                    "or run the same command again to repeat this step from the state before it"
                )
        return norm

    def _conditions(self, number: int) -> str:
        """Return the learning rates of a step and its tasks in words."""
        names, groups = sorted(self.schedule.rates), self.state.optimizer.param_groups
        rates = [f"{group['lr']:.3g}" for group in groups]
        if len(rates) > 1:
            rates = [f"{name} {rate}" for name, rate in zip(names, rates, strict=True)]
        tasks = ", ".join(self._tasks(number))
        return f"with learning rate {', '.join(rates)}" + (f", on rows of {tasks}" if tasks else "")

    def count(
        self, result: StepResult, norm: float, seconds: float
    ) -> tuple[str, int, dict[str, float]]:
        """Add a step to the progress; return its phase, step and values for the log."""
        progress = self.state.progress
        progress.step += 1
        progress.tokens += result.tokens
        progress.seconds += seconds
        progress.last_loss = result.loss
        self._average()
        measured = {"gradient_norm": norm, "seconds": seconds, "tokens": float(result.tokens)}
        return self.name, progress.step, {"loss": result.loss, **result.terms, **measured}

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
    def _average(self) -> None:
        """Add the parameters after a step to their mean, if it is one of the last steps."""
        schedule, progress = self.schedule, self.state.progress
        number = progress.step - (schedule.steps - schedule.averaged_steps)
        if number < 1:
            return
        if number == 1:
            progress.mean = [p.detach().clone() for p in self.state.parameters]
        for mean, parameter in zip(progress.mean, self.state.parameters, strict=True):
            mean.lerp_(parameter, 1 / number)

    @torch.no_grad()
    def restore_kept(self) -> None:
        """Restore the best parameters or their mean, if any were kept."""
        kept = self.state.progress.best or self.state.progress.mean
        for parameter, own in zip(self.state.parameters, kept, strict=False):
            parameter.copy_(own)
