"""Fit one method to one target task from few examples, and keep the result if it is a prompt.

Axes: P prompt positions, R rank, W width of a prompt position.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.load import Backbone, check_fits
from clinprompt.backbone.tuners import PromptTuner, Tuner, trained_numbers
from clinprompt.batches.encode import Row
from clinprompt.batches.mixture import hold_out
from clinprompt.jobs.calibrate import Answering, calibrate, with_calibration
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Method, Rates, Start
from clinprompt.methods.resolve import check_shape, with_shape
from clinprompt.methods.table import METHODS, ZERO_SHOT
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.suite_data import copies_left_out
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.work_folder import work_folder
from clinprompt.runs.workspace import Workspace, load_run_backbone, open_workspace
from clinprompt.settings.groups import AdaptSettings, FitSettings, StepSettings
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import catalog
from clinprompt.tasks.load import TaskData
from clinprompt.training.checkpoint import Progress
from clinprompt.training.fit import fit as fit_member
from clinprompt.training.fit import fit_together as fit_members
from clinprompt.training.member import FitMember, FitSpec
from clinprompt.training.progress import Reporter

LEAST_ROWS = 64  # with fewer examples, or fewer steps than this, nothing is kept for validation
LEAST_STEPS = 50
_STEPS = {256: 200, LEAST_ROWS: 60, 0: 20}  # unless set: with at least so many rows, the most first


@dataclass(frozen=True, slots=True)
class Fit:
    """What to fit: a method from its start, logged and saved under a name.

    ``shown`` is what progress shows instead of the name, if given.
    """

    method: Method
    start: Start
    name: str
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What to adapt: the name of the method and the number of training examples.

    With 0 examples, the untrained start of the method is saved. ``is_forced`` trains again what is
    finished already.
    """

    method: str
    shots: int
    is_forced: bool = False

    def name(self, task: str, metaprompt: Artifact) -> str:
        """Return a name that no other adaptation in a run has."""
        hash_ = metaprompt.manifest.content_hash[:16]
        return f"{task}/{self.method}-k{self.shots}-{hash_}"

    def places(self, task: str, metaprompt: Artifact) -> tuple[str, ...]:
        """Return the names under which a store may keep the result, the shortest first."""
        short = f"{task}-factors" if METHODS[self.method].saves == "factors" else task
        longer = f"{short}-k{self.shots}"
        return short, longer, f"{longer}-{metaprompt.manifest.content_hash[:8]}"


def adapt_task(
    folder: Path, data: TaskData, config: RunConfig, wanted: Adaptation, *, reporter: Reporter
) -> Path:
    """Fit a saved metaprompt to a few examples of a task; return the saved prompt's folder.

    ``config.metaprompt`` is the folder of the metaprompt, or "shipped". The prompt is saved under
    the name of the task, with ``-factors`` if only factors were trained. If another adaptation of
    the run has this name already, the number of shots is added.

    Raises:
        ArtifactError: the folder does not hold a metaprompt, or one of another backbone.
        SettingError: the settings ask for another shape or input form than that of the metaprompt.
        RunError: the folder holds something else, or another process works in it.
    """
    metaprompt = find_metaprompt(config.metaprompt, plain_name(config.backbone))
    check_shape(config, metaprompt)
    # One folder may hold prompts that were adapted from several metaprompts.
    config = with_shape(config, metaprompt).model_copy(update={"metaprompt": ""})
    with work_folder(folder, config) as place:
        return _adapt_in(Workspace(place, reporter), data, config, wanted, metaprompt)


def _adapt_in(
    workspace: Workspace,
    data: TaskData,
    config: RunConfig,
    wanted: Adaptation,
    metaprompt: Artifact,
) -> Path:
    """Fit a metaprompt to a task in a folder where no other process works."""
    folder, reporter = workspace.folder, workspace.reporter
    name = wanted.name(data.card.name, metaprompt)
    place = workspace.store.free_name(wanted.places(data.card.name, metaprompt), name)
    if workspace.store.made_as(place) == name and not wanted.is_forced:
        workspace.record_tasks([data])
        workspace.forget(name)  # its process may have been killed before it did
        saved = workspace.store.root / place
        reporter.say(f"already adapted: {saved} (--force, in Python force=True, trains it again)")
        return saved
    if data.copies:
        reporter.say(f"{data.card.name}: {copies_left_out(data.copies)}")
    if config.data.input_form == 1 and data.card.name not in catalog():
        reporter.say(
            f"{data.card.name}: the model does not read the instruction of the card, because the "
            "metaprompt was learned without instructions (data.input_form = 1)"
        )
    backbone = load_run_backbone(folder, config)
    workspace = open_workspace(folder, config, backbone, reporter=reporter)
    workspace.record_tasks([data])
    check_fits(backbone, metaprompt.manifest)
    workspace.store.save(metaprompt)
    task_rows = task_rows_of(config, backbone)
    rows = task_rows.shots(data, wanted.shots, seed=config.seed) if wanted.shots else ()
    own = config.at(wanted.shots)
    start = Start(own, backbone, data.card, rows, config.seed, metaprompt, say=reporter.say)
    fit = Fit(METHODS[wanted.method], start, name, shown=place)
    saved = workspace.store.save(_made(fit, workspace, data), place)
    workspace.forget(name)
    return saved


def _made(fit: Fit, workspace: Workspace, data: TaskData) -> Artifact:
    """Return what a method makes of the rows of a task; without rows, its untrained start."""
    reporter = workspace.reporter
    if fit.start.rows:
        with adapt(fit, workspace) as fitted:
            return _calibrated(fitted.artifact, fit.start, fitted.tuner, data, reporter)
    with fit.method.started(fit.start) as (tuner, _):
        artifact = _calibrated(artifact_of(fit, tuner), fit.start, tuner, data, reporter)
    manifest = artifact.manifest.model_copy(update={"method": ZERO_SHOT})
    return artifact.model_copy(update={"manifest": manifest})


def _calibrated(
    artifact: Artifact | None, start: Start, tuner: Tuner, data: TaskData, reporter: Reporter
) -> Artifact:
    """Return an artifact with the calibration of its labels, if that is used."""
    assert artifact is not None
    encoder = task_rows_of(start.config, start.backbone).encoder()
    found = calibrate(
        Answering(start.backbone, encoder, bank_of(start.backbone, [tuner]), reporter=reporter),
        data,
        start.config.data,
        seed=start.config.seed,
        may_validate=bool(start.rows),
    )
    return with_calibration(artifact, found)


def bank_of(backbone: Backbone, tuners: Sequence[Tuner]) -> Bank:
    """Return a bank of the prompts of tuners with the same placement, one of each."""
    with torch.no_grad():
        found = [tuner.prompts([0]) for tuner in tuners]
    prompts = [prompt for prompt in found if prompt is not None]
    with torch.inference_mode():
        joined = torch.cat(prompts) if prompts else None
        return make_bank(backbone.model, joined, tuners[0].placement)


@dataclass(frozen=True, slots=True)
class Adapted:
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
def adapt(fit: Fit, workspace: Workspace) -> Iterator[Adapted]:
    """Fit one method to the rows of a task; the backbone keeps adapters and weights in the block.

    Raises:
        SettingError: the method needs a metaprompt and there is none.
    """
    start, files = fit.start, workspace.phase_files([fit.name])
    files = replace(files, phase=fit.shown or files.phase)
    with fit.method.started(start) as (tuner, rates):
        progress = fit_member(start.backbone, _member(fit, tuner, rates), files)
        yield _adapted(fit, tuner, progress)


def adapt_together(fits: Sequence[Fit], workspace: Workspace) -> list[Adapted]:
    """Fit methods that train prompts, each to the rows of its task, side by side.

    The results equal those of ``adapt``, within rounding.

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
        _adapted(fit, one.tuner, progress)
        for fit, one, progress in zip(fits, members, all_progress, strict=True)
    ]


def _member(fit: Fit, tuner: Tuner, rates: Rates) -> FitMember:
    settings = fit.start.config.adapt
    steps = steps_of(fit.method, settings, len(fit.start.rows))
    of_steps = {name: getattr(settings, name) for name in StepSettings.model_fields}
    rows, validation = _divided(fit.start, steps)
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


def divided(
    rows: Sequence[Row], config: RunConfig, steps: int, *, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the rows that are trained on, and of those kept for validation."""
    count = num_held_out(config, len(rows), steps)
    return hold_out([row.note for row in rows], count, seed=seed)


def _divided(start: Start, steps: int) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the rows to train on, and those that choose the best state (none: the last one)."""
    rows = start.rows
    if start.validation:
        return rows, start.validation if may_validate(start.config.adapt, steps) else ()
    kept, held = divided(rows, start.config, steps, seed=start.seed)
    return [rows[number] for number in kept], [rows[number] for number in held]


def _adapted(fit: Fit, tuner: Tuner, progress: Progress) -> Adapted:
    return Adapted(tuner, progress, trained_numbers(tuner), artifact_of(fit, tuner))


def artifact_of(fit: Fit, tuner: Tuner) -> Artifact | None:
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
