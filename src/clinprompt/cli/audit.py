"""The command that audits a prompt before it is shared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.runs import Backbone, SavedPrompt, check_paths
from clinprompt.cli.screen import (
    Device,
    Json,
    Mirror,
    Out,
    complaints,
    console,
    print_json,
    print_table,
    say,
    shown_progress,
)
from clinprompt.errors import number_of
from clinprompt.settings.defaults import SHADOWS

if TYPE_CHECKING:
    from clinprompt.evaluation.statistics.membership import AttackResult, Estimate
    from clinprompt.jobs.audit import Audit

_GUESS = 0.5  # AUC


def audit(
    prompt: SavedPrompt,
    task: Annotated[
        str, typer.Option(help="Name or folder of the task that the prompt was trained for.")
    ],
    shadows: Annotated[
        int, typer.Option(min=4, help="Number of prompts to train for comparison.")
    ] = SHADOWS,
    out: Out = None,
    mirror: Mirror = None,
    backbone: Backbone = "",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure how much a prompt tells about the records that it was trained on.

    Trains SHADOWS prompts in the same way on other records of the task, and uses them to guess
    which records PROMPT was trained on. Run it before you share a prompt; docs/audit.md explains
    the result. The folder of the run keeps the result as audit.json.
    """
    check_paths(tasks=[task], prompts=[prompt])
    from clinprompt import api

    data = api.load_task(task, mirror=mirror)
    folder = out or Path("runs") / f"audit-{data.card.name}"
    with shown_progress(folder, complaints if as_json else console) as reporter:
        found = api.audit(
            prompt,
            data,
            shadows=shadows,
            folder=folder,
            backbone=backbone,
            device=device,
            reporter=reporter,
        )
    if as_json:
        print_json(found.to_dict())
        return
    _show(found)
    say(f"result: {folder / 'audit.json'}")


def _show(found: "Audit") -> None:
    rows = [_row("the prompt", found.attack), _row("before training (control)", found.control)]
    rows.append(["chance level", "0.50", "0.05"])
    left_out = f", {found.num_left_out} left out" if found.num_left_out else ""
    print_table(
        ["attack on", "AUC", "true-positive rate at 5 % false-positive rate"],
        rows,
        title=f"{found.task}: {found.method}, {number_of(found.steps, 'step')}",
        note=f"{number_of(found.num_members, 'row')} trained on, {found.num_others} not{left_out}; "
        f"{found.num_shadows} shadow prompts; 95 % intervals over rows",
    )
    say(
        f"mean loss: {found.loss_of_members:.3f} on rows that were trained on, "
        f"{found.loss_of_others:.3f} on others"
    )
    say(_verdict(found), wraps=True)


def _row(what: str, result: "AttackResult") -> list[str]:
    return [what, _shown(result.auc), _shown(result.true_positives)]


def _shown(estimate: "Estimate") -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _verdict(found: "Audit") -> str:
    """Return one sentence that says what the intervals mean."""
    if not found.control.auc.holds(_GUESS):
        return (
            "The audit is not valid: the control has seen no record, so its AUC should be about "
            "0.5. One audit in 20 ends so by chance; repeat it with more shadows."
        )
    if found.attack.auc.low > _GUESS:
        return (
            "The prompt tells something about the records that it was trained on. Read "
            "docs/audit.md before you share it."
        )
    return (
        "This attack does not find the records that the prompt was trained on. That is no proof "
        "that none does: see docs/audit.md."
    )
