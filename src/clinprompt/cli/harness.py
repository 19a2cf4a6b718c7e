"""Commands for lm-evaluation-harness: write a task for it, and run it with a saved prompt."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.runs import Backbone, SavedPrompt, ScoredTask, TestRows, check_paths
from clinprompt.cli.screen import Device, Mirror, complaints, say
from clinprompt.errors import number_of
from clinprompt.settings.defaults import TEST_ROWS


def lm_eval(context: typer.Context) -> None:
    """Run lm_eval with a saved prompt as its model. All options are those of lm_eval.

    For example: --model_args prompt=FOLDER --tasks TASK --include_path FOLDER
    """
    from clinprompt.jobs.lm_eval.run import run_lm_eval

    run_lm_eval(context.args)


def lm_eval_task(
    prompt: SavedPrompt,
    folder: Annotated[Path, typer.Argument(help="Folder to write the files into.")],
    task: ScoredTask = "",
    rows: TestRows = TEST_ROWS,
    mirror: Mirror = None,
    backbone: Backbone = "",
    device: Device = "auto",
) -> None:
    """Write the test records of a prompt's task as a task of lm_eval: YAML and JSON Lines."""
    check_paths(tasks=[task] if task else [], prompts=[prompt])
    from clinprompt import api
    from clinprompt.jobs.annotate import load_prompt
    from clinprompt.jobs.evaluate import data_of
    from clinprompt.jobs.lm_eval.task_files import export_task

    loaded = load_prompt(prompt, backbone=backbone, device=device)
    data = api.load_task(task, mirror=mirror) if task else data_of(loaded, mirror)
    written = export_task(loaded, data, folder, num_rows=rows)
    say(f"{written.name}: {number_of(written.num_rows, 'row')} in {folder}")
    if written.num_cut:
        say(
            f"{number_of(written.num_cut, 'row is', 'rows are')} longer than the prompt reads: "
            "clinprompt evaluate cuts them, lm_eval does not, so their answers may differ",
            screen=complaints,
        )
