"""Train one tuner, or several side by side, on the rows of their tasks.

Used for teachers, the metaprompt, adaptation and baselines. The backbone is frozen, so tuners that
are trained side by side do not affect each other: each has its own loss, gradient norm and learning
rates, and ends as it would alone, up to rounding.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from math import ceil

import torch

from clinprompt.backbone.bank import make_bank, target_states
from clinprompt.backbone.gradients import RowWeights, token_weights
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.ranks import gathered, ranks
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Row
from clinprompt.training.checkpoint import Progress
from clinprompt.training.divided import (
    check_equal,
    digest_of_rows,
    make_equal,
    own_rows,
    row_processes,
)
from clinprompt.training.loop import PhaseFiles, Schedule, Trainable, train
from clinprompt.training.losses import task_loss
from clinprompt.training.member import (
    FitMember,
    batches_of,
    row_weights_of,
    rows_by_step,
    tasks_of,
    weight_of,
)
from clinprompt.training.step import MicroBatchLimit, NumberedMember, take_step


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
        numbered.append(NumberedMember(member, first_task, rows_by_step(member, first_task)))
        first_task += len(member.rows)
    _check_equal_start(backbone, numbered)
    make_equal([parameter for one in numbered for parameter in one.parameters()])
    limit = MicroBatchLimit(members[0].spec.settings.micro_batch_tokens, files.reporter)
    return train(
        [_trainable(backbone, one) for one in numbered],
        partial(take_step, backbone, numbered, limit),
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


def _trainable(backbone: Backbone, numbered: NumberedMember) -> Trainable:
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
            checkpoint_every=settings.checkpoint_every if spec.is_checkpointed else 0,
            averaged_steps=0 if validate_every else ceil(spec.averaged_share * settings.steps),
        ),
        lambda: mean_loss(
            backbone,
            member.tuner,
            member.validation,
            max_tokens=settings.micro_batch_tokens,
            row_weights=row_weights_of(settings),
        ),
        numbered.names,
    )


def _check_equal_start(backbone: Backbone, members: Sequence[NumberedMember]) -> None:
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
