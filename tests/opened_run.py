"""Open a run in a folder as a comparison does, and train in it. For tests of what runs share."""

from clinprompt.jobs.comparison.variants import OpenVariant
from clinprompt.jobs.distill import distill
from clinprompt.jobs.teachers import train_teachers
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.workspace import load_run_backbone, open_workspace


def open_run(folder, config, *, reporter=None):
    """Return the settings, backbone, workspace and rows of a run in a folder."""
    backbone = load_run_backbone(folder, config)
    workspace = open_workspace(folder, config, backbone, reporter=reporter)
    task_rows = task_rows_of(config, backbone)
    return OpenVariant(config, backbone, workspace, task_rows, workspace, workspace)


def teachers_in(run, sources):
    """Return the teachers of source tasks, trained in a run."""
    return train_teachers(
        run.config, run.backbone, sources, workspace=run.workspace, task_rows=run.task_rows
    )


def metaprompt_in(run, sources):
    """Return the metaprompt of source tasks, distilled in a run."""
    return distill(
        run.config,
        run.backbone,
        sources,
        teachers=teachers_in(run, sources),
        workspace=run.workspace,
        task_rows=run.task_rows,
    )


def manifest_in(run, kind, cards):
    """Return the manifest of a prompt that was trained in a run."""
    return manifest_of(run.config, run.backbone, kind=kind, name="m", method="m", cards=cards)
