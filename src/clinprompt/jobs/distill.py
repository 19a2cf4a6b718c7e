"""Train a teacher for each source task, then distill the teachers into one metaprompt.

Axes: K source tasks, P prompt positions, H hidden size, R rank.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.files import Claims
from clinprompt.jobs.source_rows import source_rows
from clinprompt.jobs.teachers import train_teachers
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.segments import Segments
from clinprompt.runs.folder import CLAIMS
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.task_rows import TaskRows, task_rows_of
from clinprompt.runs.work_folder import work_folder
from clinprompt.runs.workspace import Workspace, load_run_backbone, open_workspace
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData
from clinprompt.training.distillation import distillation_loss, open_teachers
from clinprompt.training.fit import fit
from clinprompt.training.progress import Reporter

_PHASE = "distill"  # in the log, and the name of the checkpoint


def distill_suite(
    folder: Path, config: RunConfig, *, mirror: Path | None, reporter: Reporter
) -> Path:
    """Train the teachers and the metaprompt of a suite; return the metaprompt's folder.

    Raises:
        RunError: the folder holds something else, or another process works in it.
    """
    suite = load_suite(config.suite, config.data, mirror)
    for gap in suite.missing:
        reporter.say(f"suite {suite.name}: {gap}")
    with work_folder(folder, config) as place:
        backbone = load_run_backbone(place, config)
        workspace = open_workspace(place, config, backbone, reporter=reporter)
        workspace.record_tasks(suite.sources)
        return workspace.store.save(learn_metaprompt(config, backbone, suite.sources, workspace))


def learn_metaprompt(
    config: RunConfig, backbone: Backbone, sources: Sequence[TaskData], workspace: Workspace
) -> Artifact:
    """Return the metaprompt of source tasks; train it and its teachers unless they are there."""
    rows = task_rows_of(config, backbone)
    teachers = train_teachers(config, backbone, sources, workspace=workspace, task_rows=rows)
    claim = metaprompt_claim(config.backbone)
    with Claims(workspace.folder / CLAIMS).claim(claim, wait=True):  # a comparison may share it
        workspace.refresh()
        return distill(
            config, backbone, sources, teachers=teachers, workspace=workspace, task_rows=rows
        )


def metaprompt_claim(backbone: str, variant: str = "") -> str:
    """Return the name of the claim on the metaprompt of a backbone under a variant ("": none)."""
    return f"metaprompt {(backbone, variant)}"


def distill(
    config: RunConfig,
    backbone: Backbone,
    sources: Sequence[TaskData],
    *,
    teachers: Sequence[Artifact],
    workspace: Workspace,
    task_rows: TaskRows,
) -> Artifact:
    """Return the metaprompt of the source tasks; train it unless the workspace has it already.

    ``teachers[k]`` is the trained prompt of ``sources[k]``.
    """
    name = "metaprompt"
    if name in workspace.finished:
        workspace.forget(_PHASE)  # its process may have been killed before it did
        return workspace.store.metaprompt(workspace.finished[name])
    cards, settings = [data.card for data in sources], config.distill
    vectors = [teacher.tensors["vectors"] for teacher in teachers]
    module = _student(config, backbone, vectors, [card.type for card in cards])
    of_sources = source_rows(sources, task_rows)
    files = workspace.phase_files([_PHASE])
    opened = open_teachers(backbone, teachers, of_sources.rows, settings=settings, files=files)
    member = of_sources.member(
        files.phase,
        PromptTuner(module, config.prompt.placement),
        {"shared": settings.shared_rate, "factors": settings.factor_rate},
        config,
        distillation_loss(opened),
    )
    fit(backbone, member, files)
    manifest = manifest_of(
        config, backbone, kind="metaprompt", name=name, method="distilled", cards=cards
    )
    artifact = make_artifact(manifest, dict(module.named_parameters()))
    workspace.store.save(artifact)
    opened.delete_cache()  # first of all, as it reveals answers
    workspace.finish({name: artifact.manifest.content_hash})
    workspace.forget(files.phase)
    return artifact


def _student(
    config: RunConfig, backbone: Backbone, teachers: Sequence[Tensor], types: Sequence[str]
) -> DecomposedPrompts:
    """Return the metaprompt before distillation, in which all tasks have the same prompt."""
    settings = config.prompt
    segments = Segments(settings.length, settings.segment)
    if config.distill.start == "teachers":
        shared = segments.mean(teachers, types)
    else:
        own = settings.model_copy(update={"start": config.distill.start})
        shared = segments.repeat_prompt(start_vectors(backbone, own, seed=config.seed))
    u, v = neutral_factors(
        len(teachers),
        length=settings.length,
        hidden_size=shared.shape[1],
        rank=settings.rank,
        generator=torch.Generator().manual_seed(config.seed),
    )
    module = DecomposedPrompts(shared, u, v, route=segments.route(types))
    return module.to(backbone.device)
