"""Fit the metaprompt, a plain prompt or LoRA to one target task from few examples.

Axes: K source tasks, P prompt positions, R rank, H hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from clinprompt.backbone.tuners import LoraTuner, PromptTuner, Tuner, lora, trained_numbers
from clinprompt.batches.encode import Row
from clinprompt.config import Method
from clinprompt.errors import SettingError
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.recipes.context import Run
from clinprompt.recipes.distill import start_vectors
from clinprompt.recipes.tune import Exercise, mean_loss, tune
from clinprompt.tasks.card import TaskCard
from clinprompt.training.checkpoint import Progress

ROUTE_ROWS = 16


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
        """Return the size of what one more task adds to a disk (float32 for LoRA)."""
        return self.artifact.num_bytes if self.artifact else 4 * self.trained_numbers


def starting_prompt(
    run: Run,
    metaprompt: Artifact,
    card: TaskCard,
    *,
    rows: Sequence[Row] = (),
    train_shared: bool = True,
) -> DecomposedPrompts:
    """Return the metaprompt with the factors that a new task starts from, as the run routes.

    ``all`` averages the factors of all sources, ``type`` those of the task's own type, ``nearest``
    takes the start with the lowest loss on the first 16 of ``rows`` among these two averages and
    each source alone; without rows it starts as ``type`` does, or ``all`` for an unknown type.

    Raises:
        SettingError: ``type`` where no source has the task's type.
    """
    chosen = _routed(run, metaprompt, card, rows)
    return _mean_start(run, metaprompt, chosen, train_shared=train_shared)


@contextmanager
def adapt(run: Run, fit: Fit, metaprompt: Artifact | None) -> Iterator[Adapted]:
    """Fit one method to the rows of a task, for as long as the block runs (LoRA is in the model).

    Raises:
        SettingError: the method needs a metaprompt and there is none.
    """
    with _tuner(run, fit, metaprompt) as (tuner, rates):
        exercise = Exercise(run.config.adapt, rates, fit.seed)
        place = run.place(fit.name)
        progress = tune(run.backbone, tuner, [fit.rows], exercise=exercise, place=place)
        artifact = _artifact(run, tuner, fit, metaprompt)
        yield Adapted(tuner, progress, trained_numbers(tuner), artifact)


@contextmanager
def _tuner(
    run: Run, fit: Fit, metaprompt: Artifact | None
) -> Iterator[tuple[Tuner, dict[str, float]]]:
    settings, baselines = run.config.adapt, run.config.baselines
    if fit.method == "lora":
        rank, modules = baselines.lora_rank, baselines.lora_modules
        with lora(run.backbone, rank=rank, modules=modules, seed=fit.seed) as tuner:
            yield tuner, {"lora": baselines.lora_rate}
    elif fit.method == "prompt-tuning":
        start = start_vectors(run.backbone, run.config.prompt, seed=fit.seed)
        module = SoftPrompts(start[None]).to(run.backbone.device)
        yield run.tuner(module), {"prompt": baselines.prompt_rate}
    elif metaprompt is None:
        raise SettingError(f"method {fit.method} needs a metaprompt; distill one first")
    else:
        train_shared = fit.method != "adapted-factors"
        prompts = starting_prompt(
            run, metaprompt, fit.card, rows=fit.rows, train_shared=train_shared
        )
        rates = {"shared": settings.shared_rate} if train_shared else {}
        yield run.tuner(prompts), rates | {"factors": settings.factor_rate}


def _artifact(run: Run, tuner: Tuner, fit: Fit, metaprompt: Artifact | None) -> Artifact | None:
    """Return what to save: factors alone where the shared prompt is untouched, else the prompt."""
    if isinstance(tuner, LoraTuner):
        return None
    assert isinstance(tuner, PromptTuner)
    module = tuner.module
    known: dict[str, object] = {"seed": fit.seed, "shots": len(fit.rows)}
    if fit.method == "adapted-factors":
        assert isinstance(module, DecomposedPrompts)
        assert metaprompt is not None
        known["metaprompt"] = metaprompt.manifest.content_hash
        manifest = run.manifest("factors", fit.name, fit.method, [fit.card])
        tensors = {"columns": module.columns[0], "rows": module.rows[0]}
        return make_artifact(manifest.model_copy(update=known), tensors)
    with torch.no_grad():
        vectors: Tensor = module([0])[0]
    manifest = run.manifest("prompt", fit.name, fit.method, [fit.card])
    return make_artifact(manifest.model_copy(update=known), {"vectors": vectors})


def _routed(run: Run, metaprompt: Artifact, card: TaskCard, rows: Sequence[Row]) -> list[int]:
    """Return the source tasks whose factors are averaged to start ``card``."""
    routing = run.config.adapt.routing
    sources = metaprompt.manifest.tasks
    every = list(range(len(sources)))
    same = [k for k in every if sources[k]["type"] == card.type]
    if routing == "type" and not same:
        raise SettingError(
            f"adapt.routing = 'type', but no source task of the metaprompt has type "
            f"{card.type}; use 'all' or 'nearest'"
        )
    if routing == "all":
        return every
    if routing == "type" or not rows:
        return same or every
    starts = [every, *([same] if same else []), *([k] for k in every)]
    losses = [
        mean_loss(run.backbone, run.tuner(_mean_start(run, metaprompt, chosen)), rows[:ROUTE_ROWS])
        for chosen in starts
    ]
    nearest = starts[losses.index(min(losses))]
    names = ", ".join(str(sources[k]["name"]) for k in nearest)
    run.reporter.say(f"{card.name}: starts from the factors of {names}")
    return nearest


def _mean_start(
    run: Run, metaprompt: Artifact, chosen: Sequence[int], *, train_shared: bool = True
) -> DecomposedPrompts:
    tensors, index = metaprompt.tensors, list(chosen)
    return DecomposedPrompts(
        tensors["shared"],
        tensors["columns"][index].mean(dim=0, keepdim=True),
        tensors["rows"][index].mean(dim=0, keepdim=True),
        train_shared=train_shared,
    ).to(run.backbone.device)
