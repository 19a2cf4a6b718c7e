"""Train one prompt for each source task: the teachers of a metaprompt."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.files import Claims
from clinprompt.prompts.artifact import Artifact, make_artifact
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.runs.folder import CLAIMS
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.task_rows import TaskRows
from clinprompt.runs.workspace import Workspace
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData
from clinprompt.training.fit import fit_together
from clinprompt.training.member import FitMember, FitSpec


def train_teachers(
    config: RunConfig,
    backbone: Backbone,
    sources: Sequence[TaskData],
    *,
    workspace: Workspace,
    task_rows: TaskRows,
) -> list[Artifact]:
    """Return the teacher of each source task; train those that the workspace does not have yet.

    ``teacher.together`` of them are trained side by side, which changes them by no more than
    rounding. Several processes may share the work: each takes teachers that no other process
    trains, and waits for the others at the end.
    """
    help_with_teachers(config, backbone, sources, workspace=workspace, task_rows=task_rows)
    claims = Claims(workspace.folder / CLAIMS)
    for data in sources:
        name = _name(data.card.name)
        if name not in workspace.finished:
            with claims.claim(name, wait=True):
                workspace.refresh()
                if name not in workspace.finished:  # its process was stopped
                    _train_group(config, backbone, [data], workspace=workspace, task_rows=task_rows)
        workspace.forget(name)  # its process may have been killed before it did
    return [workspace.store.load(_name(data.card.name)) for data in sources]


def help_with_teachers(
    config: RunConfig,
    backbone: Backbone,
    sources: Sequence[TaskData],
    *,
    workspace: Workspace,
    task_rows: TaskRows,
) -> None:
    """Train the missing teachers that no other process is training."""
    is_done = False
    while not is_done:
        with _claimed(workspace, sources, config.teacher.together) as group:
            is_done = not group
            if group:
                _train_group(config, backbone, group, workspace=workspace, task_rows=task_rows)


@contextmanager
def _claimed(
    workspace: Workspace, sources: Sequence[TaskData], size: int
) -> Iterator[list[TaskData]]:
    """Yield the first source tasks, at most ``size``, whose teacher no process has or trains."""
    claims, group = Claims(workspace.folder / CLAIMS), list[TaskData]()
    with ExitStack() as stack:
        for data in sources:
            name = _name(data.card.name)
            if len(group) < size and name not in workspace.finished:
                is_ours = stack.enter_context(claims.claim(name))
                workspace.refresh()
                if is_ours and name not in workspace.finished:
                    group.append(data)
        yield group


def load_teacher(workspace: Workspace, task: str) -> Artifact | None:
    """Return the teacher that a workspace has for a source task, or None."""
    workspace.refresh()
    name = _name(task)
    return workspace.store.load(name) if name in workspace.finished else None


def _train_group(
    config: RunConfig,
    backbone: Backbone,
    sources: Sequence[TaskData],
    *,
    workspace: Workspace,
    task_rows: TaskRows,
) -> None:
    """Train and save the teachers of some source tasks side by side."""
    settings, placement = config.teacher, config.prompt.placement
    start = start_vectors(backbone, config.prompt, seed=config.seed)
    modules = [SoftPrompts(start[None]).to(backbone.device) for _ in sources]
    names = [_name(data.card.name) for data in sources]
    spec = FitSpec(
        settings,
        {"prompt": settings.learning_rate},
        config.seed,
        validate_every=settings.validate_every,
    )
    members = [
        FitMember(
            name,
            PromptTuner(module, placement),
            [task_rows.training(data)],
            spec,
            task_rows.validation(data),
        )
        for data, module, name in zip(sources, modules, names, strict=True)
    ]
    fit_together(backbone, members, workspace.phase_files(names))
    made = {}
    for data, name, module in zip(sources, names, modules, strict=True):
        manifest = manifest_of(
            config, backbone, kind="prompt", name=name, method="teacher", cards=[data.card]
        )
        artifact = make_artifact(manifest, {"vectors": module.vectors[0]})
        workspace.store.save(artifact)
        made[name] = artifact.manifest.content_hash
    workspace.finish(made)
    for name in names:
        workspace.forget(name)


def _name(task: str) -> str:
    return f"teachers/{task}"
