"""Fit one method to one target task from few examples, and keep what can be kept.

Axes: P prompt positions, R rank, H hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from clinprompt.backbone.tuners import PromptTuner, Tuner, WeightTuner, trained_numbers
from clinprompt.batches.encode import Row
from clinprompt.methods.table import TRAIN_PROMPTS, Rates, Start, Started, start
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.runs.run import Run
from clinprompt.settings.groups import Method
from clinprompt.tasks.card import TaskCard
from clinprompt.training.checkpoint import Progress
from clinprompt.training.fit import FitMember, FitSpec
from clinprompt.training.fit import fit as fit_member
from clinprompt.training.fit import fit_together as fit_members


@dataclass(frozen=True, slots=True)
class Fit:
    """What to fit: a method to the rows of one task, saved under a name."""

    method: Method
    card: TaskCard
    rows: Sequence[Row]
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Adapted:
    """A tuner fitted to one task: how the fit went, and what it takes to keep it."""

    tuner: Tuner
    progress: Progress
    trained_numbers: int
    artifact: Artifact | None

    @property
    def num_bytes(self) -> int:
        """Return the size of what one more task adds to a disk (float32 for trained weights)."""
        return self.artifact.num_bytes if self.artifact else 4 * self.trained_numbers


@contextmanager
def adapt(run: Run, fit: Fit, metaprompt: Artifact | None) -> Iterator[Adapted]:
    """Fit one method to the rows of a task, for as long as the block runs (LoRA is in the model).

    Raises:
        SettingError: the method needs a metaprompt and there is none.
    """
    with _start(run, fit, metaprompt) as (tuner, rates):
        member = _member(run, fit, tuner, rates)
        progress = fit_member(run.backbone, member, run.place(fit.name))
        artifact = _artifact(run, tuner, fit, metaprompt)
        yield Adapted(tuner, progress, trained_numbers(tuner), artifact)


def adapt_together(run: Run, fits: Sequence[Fit], metaprompt: Artifact | None) -> list[Adapted]:
    """Fit methods that train prompts, each to the rows of its task, side by side.

    Each ends as it would by ``adapt``, within rounding.

    Raises:
        SettingError: a method needs a metaprompt and there is none.
    """
    members = []
    for fit in fits:
        assert fit.method in TRAIN_PROMPTS
        with _start(run, fit, metaprompt) as (tuner, rates):
            members.append(_member(run, fit, tuner, rates))
    files = run.place_of([fit.name for fit in fits])
    all_progress = fit_members(run.backbone, members, files)
    return [
        Adapted(
            one.tuner,
            progress,
            trained_numbers(one.tuner),
            _artifact(run, one.tuner, fit, metaprompt),
        )
        for fit, one, progress in zip(fits, members, all_progress, strict=True)
    ]


def _start(run: Run, fit: Fit, metaprompt: Artifact | None) -> Started:
    return start(fit.method, Start(run, metaprompt, fit.card, fit.rows, fit.seed))


def _member(run: Run, fit: Fit, tuner: Tuner, rates: Rates) -> FitMember:
    settings = run.config.adapt
    steps = settings.method_steps.get(fit.method, settings.steps)
    # A checkpoint of all weights takes longer than the steps that it saves.
    every = steps + 1 if fit.method == "full" else settings.checkpoint_every
    own = settings.model_copy(update={"steps": steps, "checkpoint_every": every})
    return FitMember(fit.name, tuner, [fit.rows], FitSpec(own, rates, fit.seed))


def _artifact(run: Run, tuner: Tuner, fit: Fit, metaprompt: Artifact | None) -> Artifact | None:
    """Return what to save: factors alone where the shared prompt is untouched, else the prompt."""
    if isinstance(tuner, WeightTuner):
        return None
    known: dict[str, object] = {"seed": fit.seed, "shots": len(fit.rows)}
    if fit.method == "adapted-factors":
        assert isinstance(tuner, PromptTuner)
        assert isinstance(tuner.module, DecomposedPrompts)
        assert metaprompt is not None
        known["metaprompt"] = metaprompt.manifest.content_hash
        manifest = run.manifest("factors", fit.name, fit.method, [fit.card])
        tensors = {"u": tuner.module.u[0], "v": tuner.module.v[0]}
        return make_artifact(manifest.model_copy(update=known), tensors)
    with torch.no_grad():
        prompts: Tensor | None = tuner.prompts([0])
        assert prompts is not None
    known |= {"placement": tuner.placement, "hidden_size": prompts.shape[-1]}
    manifest = run.manifest("prompt", fit.name, fit.method, [fit.card])
    return make_artifact(manifest.model_copy(update=known), {"vectors": prompts[0]})
