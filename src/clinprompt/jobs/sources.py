"""Train a method on all source tasks at once, before it is fitted to targets."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.tuners import trained_tensors
from clinprompt.errors import ArtifactError
from clinprompt.files import write_bytes
from clinprompt.jobs.source_rows import source_rows
from clinprompt.methods.method import Method
from clinprompt.runs.task_rows import TaskRows
from clinprompt.runs.workspace import Workspace
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData
from clinprompt.training.fit import fit


def train_on_sources(
    method: Method,
    config: RunConfig,
    backbone: Backbone,
    sources: Sequence[TaskData],
    *,
    workspace: Workspace,
    task_rows: TaskRows,
) -> None:
    """Train a method on the rows of all source tasks, unless the workspace has the result already.

    It sees the rows that the metaprompt sees in distillation, as many and in the same order, and
    learns from the correct answers alone.
    """
    assert method.on_sources is not None
    if _name(method.name) in workspace.finished:
        workspace.forget(method.name)  # its process may have been killed before it did
        return
    files, of_sources = workspace.phase_files([method.name]), source_rows(sources, task_rows)
    with method.on_sources(config, backbone) as (tuner, rates):
        fit(backbone, of_sources.member(files.phase, tuner, rates, config), files)
        content = save(trained_tensors(tuner))
    write_bytes(_path(workspace, method.name), content)
    workspace.finish({_name(method.name): hashlib.sha256(content).hexdigest()})
    workspace.forget(files.phase)


def load_from_sources(workspace: Workspace, method: str) -> Mapping[str, Tensor] | None:
    """Return the tensors that a workspace has for a method trained on all source tasks, or None.

    Raises:
        ArtifactError: their file is missing or damaged.
    """
    workspace.refresh()
    expected, path = workspace.finished.get(_name(method)), _path(workspace, method)
    if expected is None:
        return None
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise ArtifactError(
            f"{path}: missing or damaged; copy it again, or start the comparison in another --out"
        )
    tensors: dict[str, Tensor] = load(content)
    return tensors


def _name(method: str) -> str:
    return f"sources/{method}"


def _path(workspace: Workspace, method: str) -> Path:
    return workspace.store.root / "sources" / f"{method}.safetensors"
