"""Fit one method to one target task, and make what is saved of it.

Axes: P prompt positions, R rank, W width of a prompt position.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.tuners import PromptTuner, Tuner, trained_numbers
from clinprompt.batches.encode import Row
from clinprompt.batches.mixture import hold_out
from clinprompt.methods.method import Method, Rates, Start
from clinprompt.methods.table import ZERO_SHOT
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.workspace import Workspace
from clinprompt.settings.groups import AdaptSettings, FitSettings, StepSettings
from clinprompt.settings.run import RunConfig
from clinprompt.training.checkpoint import Progress
from clinprompt.training.fit import fit as fit_member
from clinprompt.training.fit import fit_together as fit_members
from clinprompt.training.member import FitMember, FitSpec

LEAST_ROWS = 64  # with fewer examples, or fewer steps than this, nothing is kept for validation
LEAST_STEPS = 50
_STEPS = {256: 200, LEAST_ROWS: 60, 0: 20}  # unless set: with at least so many rows, the most first


@dataclass(frozen=True, slots=True)
class MethodFit:
    """A method to fit. ``name`` keys its log, checkpoint and prompt.

    ``shown`` is what progress shows instead of the name, if given.
    """

    method: Method
    start: Start
    name: str
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A tuner fitted to one task, how the fit went, and the artifact to save (None: nothing)."""

    tuner: Tuner
    progress: Progress
    trained_numbers: int
    artifact: Artifact | None

    @property
    def num_bytes(self) -> int:
        """Return the disk space of the result (trained weights count as float32)."""
        return self.artifact.num_bytes if self.artifact else 4 * self.trained_numbers


@contextmanager
def fit_method(fit: MethodFit, workspace: Workspace) -> Iterator[Fitted]:
    """Fit one method to the rows of a task; the backbone keeps adapters and weights in the block.

    Raises:
        SettingError: the method needs a metaprompt and there is none.
    """
    start, files = fit.start, workspace.phase_files([fit.name])
    files = replace(files, phase=fit.shown or files.phase)
    with fit.method.started(start) as (tuner, rates):
        progress = fit_member(start.backbone, _member(fit, tuner, rates), files)
        yield _fitted(fit, tuner, progress)


@contextmanager
def untrained(fit: MethodFit) -> Iterator[Fitted]:
    """Give the start of a method, as if it had been fitted for no step."""
    with fit.method.started(fit.start) as (tuner, _):
        fitted = _fitted(fit, tuner, Progress())
        assert fitted.artifact is not None
        manifest = fitted.artifact.manifest.model_copy(update={"method": ZERO_SHOT})
        yield replace(fitted, artifact=fitted.artifact.model_copy(update={"manifest": manifest}))


def fit_methods(fits: Sequence[MethodFit], workspace: Workspace) -> list[Fitted]:
    """Fit methods that train prompts, each to the rows of its task, side by side.

    The results equal those of ``fit_method``, within rounding.

    Raises:
        SettingError: a method needs a metaprompt and there is none.
    """
    members = []
    for fit in fits:
        assert fit.method.trains == "prompt"
        with fit.method.started(fit.start) as (tuner, rates):
            members.append(_member(fit, tuner, rates))
    settings = [one.spec.described() for one in members]
    files = workspace.phase_files([fit.name for fit in fits], settings=settings)
    all_progress = fit_members(fits[0].start.backbone, members, files)
    return [
        _fitted(fit, one.tuner, progress)
        for fit, one, progress in zip(fits, members, all_progress, strict=True)
    ]


def _member(fit: MethodFit, tuner: Tuner, rates: Rates) -> FitMember:
    settings = fit.start.config.adapt
    steps = steps_of(fit.method, settings, len(fit.start.rows))
    of_steps = {name: getattr(settings, name) for name in StepSettings.model_fields}
    rows, validation = _rows_of(fit.start, steps)
    spec = FitSpec(
        FitSettings(**of_steps, steps=steps),
        rates,
        fit.start.seed,
        validate_every=settings.validate_every,
        averaged_share=settings.averaged_share,
        is_checkpointed=fit.method.is_checkpointed,
    )
    return FitMember(fit.name, tuner, [rows], spec, validation)


def steps_of(method: Method, settings: AdaptSettings, num_rows: int) -> int:
    """Return the number of steps that a method trains on so many rows of a task."""
    if method.name in settings.method_steps:
        return settings.method_steps[method.name]
    if settings.steps is not None:
        return settings.steps
    return next(steps for least, steps in _STEPS.items() if num_rows >= least)


def may_validate(settings: AdaptSettings, steps: int) -> bool:
    """Return whether validation rows, if there are any, choose the best state of a fit."""
    return settings.validate_every > 0 and steps >= LEAST_STEPS


def num_held_out(config: RunConfig, num_rows: int, steps: int) -> int:
    """Return how many of the rows of a task are kept at most to choose the best state."""
    settings = config.adapt
    if not may_validate(settings, steps) or num_rows < LEAST_ROWS:
        return 0
    return min(int(settings.validation_share * num_rows), config.data.validation_rows)


def split_rows(
    rows: Sequence[Row], config: RunConfig, steps: int, *, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the rows that are trained on, and of those kept for validation."""
    count = num_held_out(config, len(rows), steps)
    return hold_out([row.note for row in rows], count, seed=seed)


def _rows_of(start: Start, steps: int) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the rows to train on, and those that choose the best state (none: the last one)."""
    rows = start.rows
    if start.validation:
        return rows, start.validation if may_validate(start.config.adapt, steps) else ()
    kept, held = split_rows(rows, start.config, steps, seed=start.seed)
    return [rows[number] for number in kept], [rows[number] for number in held]


def _fitted(fit: MethodFit, tuner: Tuner, progress: Progress) -> Fitted:
    return Fitted(tuner, progress, trained_numbers(tuner), artifact_of(fit, tuner))


def bank_of(backbone: Backbone, tuners: Sequence[Tuner]) -> Bank:
    """Return a bank of the prompts of tuners with the same placement, one of each."""
    with torch.no_grad():
        found = [tuner.prompts([0]) for tuner in tuners]
    prompts = [prompt for prompt in found if prompt is not None]
    with torch.inference_mode():
        joined = torch.cat(prompts) if prompts else None
        return make_bank(backbone.model, joined, tuners[0].placement)


def artifact_of(fit: MethodFit, tuner: Tuner) -> Artifact | None:
    """Return what is saved: nothing, the factors if the shared prompt is unchanged, or a prompt."""
    start, saves = fit.start, fit.method.saves
    if saves == "nothing":
        return None
    own: dict[str, object] = {"seed": start.seed, "shots": len(start.rows)}
    if saves == "factors":
        assert isinstance(tuner, PromptTuner)
        assert isinstance(tuner.module, DecomposedPrompts)
        assert start.metaprompt is not None
        own["metaprompt"] = start.metaprompt.manifest.content_hash
        tensors = {"u": tuner.module.u[0], "v": tuner.module.v[0]}
    else:
        with torch.no_grad():
            prompts: Tensor | None = tuner.prompts([0])
        assert prompts is not None
        own |= {"placement": tuner.placement, "hidden_size": prompts.shape[-1]}
        tensors = {"vectors": prompts[0]}
    manifest = manifest_of(
        start.config,
        start.backbone,
        kind=saves,
        name=fit.name,
        method=fit.method.name,
        cards=[start.card],
    )
    return make_artifact(manifest.model_copy(update=own), tensors)
