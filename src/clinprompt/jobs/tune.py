"""Train a prompt on the training rows of one task (prompt tuning)."""

from pathlib import Path

from clinprompt.jobs.teachers import train_teachers
from clinprompt.runs.suite_data import load_apart
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.work_folder import work_folder
from clinprompt.runs.workspace import load_run_backbone, open_workspace
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import find_card
from clinprompt.training.progress import Reporter


def tune_task(
    folder: Path, task: str, config: RunConfig, *, mirror: Path | None, reporter: Reporter
) -> Path:
    """Train one task's own prompt on its training rows; return the saved prompt's folder.

    Raises:
        RunError: the folder holds something else, or another process works in it.
    """
    data = load_apart(find_card(task), mirror)
    with work_folder(folder, config) as place:
        backbone = load_run_backbone(place, config)
        workspace = open_workspace(place, config, backbone, reporter=reporter)
        workspace.record_tasks([data])
        rows = task_rows_of(config, backbone)
        [artifact] = train_teachers(config, backbone, [data], workspace=workspace, task_rows=rows)
        return workspace.store.root / artifact.manifest.name
