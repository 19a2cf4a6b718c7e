"""Train one tuner, or several side by side, on the rows of their tasks.

Used for teachers, the metaprompt, adaptation and baselines. The backbone is frozen, so tuners that
are trained side by side do not affect each other: each has its own loss, gradient norm and learning
rates, and ends as it would alone, up to rounding. One step reads the rows of all of them at once.
Several processes that torchrun started divide the rows of each step, see ``divided``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from clinprompt.backbone.bank import TargetStates, make_bank, target_states
from clinprompt.backbone.gradients import (
    Loss,
    LossValues,
    RowWeights,
    StepPrompts,
    accumulate_gradients,
    token_weights,
)
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.memory import is_out_of_memory, release
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.ranks import LostProcessError, gathered, ranks
from clinprompt.backbone.tensor_parallel import num_parts
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Batch, Row, collate, group_within_limit, micro_batches
from clinprompt.batches.mixture import schedule
from clinprompt.settings.groups import FitSettings
from clinprompt.training.checkpoint import Progress
from clinprompt.training.divided import (
    Attempt,
    add_up_gradients,
    check_equal,
    digest_of_rows,
    make_equal,
    of_all,
    own_rows,
    row_processes,
)
from clinprompt.training.loop import (
    LostStepError,
    PhaseFiles,
    Schedule,
    StepResult,
    Trainable,
    train,
)
from clinprompt.training.losses import task_loss
from clinprompt.training.progress import Reporter


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

    ``validate_every`` counts steps; 0 keeps the last state, or the mean over ``averaged_share`` of
    the states. ``groups`` has the group of each task;
    all groups are drawn equally often. Without it, all tasks are in one group.
    """

    settings: FitSettings
    rates: Mapping[str, float]
    seed: int
    loss: Loss = TASK_LOSS
    sampling_temperature: float = 1.0
    validate_every: int = 0
    groups: Sequence[str] = ()
    averaged_share: float = 0.0

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


def fit(backbone: Backbone, member: FitMember, files: PhaseFiles) -> Progress:
    """Train one tuner; return its progress. See ``fit_together``.

    Raises:
        RunError: the loss or a gradient is not finite, or the disk is full.
    """
    [progress] = fit_together(backbone, [member], files)
    return progress


def fit_together(
    backbone: Backbone, members: Sequence[FitMember], files: PhaseFiles
) -> list[Progress]:
    """Train tuners side by side; return the progress of each.

    The specs may differ in steps, rates and seeds, but not in loss, row weights, rows a step or
    micro-batches.
    Tuners that train weights of the backbone can only be trained alone. A step for which memory
    does not suffice is repeated with smaller micro-batches, which changes it by rounding only.

    Raises:
        RunError: a loss or a gradient is not finite, memory does not suffice for one row, the disk
            is full, or another process trains something else.
    """
    numbered, first_task = [], 0
    for member in members:
        numbered.append(_Numbered(member, first_task, rows_by_step(member, first_task)))
        first_task += len(member.rows)
    _check_equal_start(backbone, numbered)
    make_equal([parameter for one in numbered for parameter in one.parameters()])
    limit = _Limit(members[0].spec.settings.micro_batch_tokens, files.reporter)
    return train(
        [_trainable(backbone, one) for one in numbered],
        partial(_take_step, backbone, numbered, limit),
        files,
    )


@torch.no_grad()
def mean_loss(
    backbone: Backbone,
    tuner: Tuner,
    rows: Sequence[Row],
    *,
    max_tokens: int = 4096,
    row_weights: RowWeights = torch.ones_like,
) -> float:
    """Return the mean over rows of the mean task loss per target token, in nats.

    Several processes divide the rows, and all return the same value.
    """
    process = row_processes(backbone.model)
    [own] = own_rows([rows], process)
    total, weight = 0.0, weight_of(rows, row_weights)
    if own:
        tasks = tasks_of(own)
        bank = make_bank(backbone.model, tuner.prompts(tasks), tuner.placement)
        order = torch.tensor(tasks, device=backbone.device)
        prompt_tokens = 0 if bank.suffix is None else bank.num_positions
        for batch in batches_of(backbone, own, max_tokens, prompt_tokens=prompt_tokens):
            owners = torch.searchsorted(order, batch.tasks)
            states = target_states(backbone.model, batch, bank, owners)
            weights = token_weights(states.rows, total=weight, row_weights=row_weights)
            total += float((task_loss(states.logits, states.labels) * weights).sum())
    if process.size == 1:
        return total
    return float(gathered(torch.tensor([total], dtype=torch.float64)).sum())


def weight_of(rows: Sequence[Row], row_weights: RowWeights) -> int:
    """Return the sum of the weights of rows."""
    return int(row_weights(torch.tensor([len(row.target_ids) for row in rows])).sum())


def rows_by_step(member: FitMember, first_task: int = 0) -> list[list[Row]]:
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


@dataclass(frozen=True, slots=True)
class _Numbered:
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
class _Limit:
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


def _trainable(backbone: Backbone, numbered: _Numbered) -> Trainable:
    """Return what the training loop needs to know of a member."""
    member = numbered.member
    spec, settings = member.spec, member.spec.settings
    validate_every = spec.validate_every if member.validation else 0
    return Trainable(
        member.name,
        member.tuner.parameter_groups(),
        Schedule(
            steps=settings.steps,
            rates=spec.rates,
            warmup_steps=settings.warmup_steps,
            decay=settings.decay,
            clip_norm=settings.clip_norm,
            validate_every=validate_every,
            checkpoint_every=settings.checkpoint_every,
            averaged_steps=0 if validate_every else round(spec.averaged_share * settings.steps),
        ),
        lambda: mean_loss(
            backbone, member.tuner, member.validation, row_weights=row_weights_of(settings)
        ),
        numbered.names,
    )


def _take_step(
    backbone: Backbone,
    members: Sequence[_Numbered],
    limit: _Limit,
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
    backbone: Backbone, members: Sequence[_Numbered], limit: _Limit, number: int
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
    members: Sequence[_Numbered],
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
    members: Sequence[_Numbered],
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


def _check_equal_start(backbone: Backbone, members: Sequence[_Numbered]) -> None:
    """Check that all processes begin the same training, with the same rows and backbone."""
    if ranks().size == 1:
        return
    drawn = (row for one in members for rows in one.rows_by_step for row in rows)
    validation = (row for one in members for row in one.member.validation)
    check_equal(
        {
            "phase": [one.member.name for one in members],
            "settings": [one.member.spec.described() for one in members],
            "rows": digest_of_rows(chain(drawn, validation)),
            "backbone": backbone.fingerprint,
        }
    )


def _step_prompts(members: Sequence[_Numbered], chosen: Sequence[Sequence[Row]]) -> StepPrompts:
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
