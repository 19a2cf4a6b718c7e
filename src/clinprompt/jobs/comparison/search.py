"""Search the settings of each method on held-out tasks, with equally many trials each.

A trial is fitted to a few examples of each held-out task and judged on validation rows of that
task: by the score of its answers or, without answering, by its loss. Trials of a method are
compared by their mean rank over tasks, so no task counts more than another. Targets are not used.
The same command continues a search after a stop.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Row
from clinprompt.errors import RunError, SettingError
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.report.score_tables import Table
from clinprompt.evaluation.score_cells import CellInput, score_cell
from clinprompt.files import Claims, append_line
from clinprompt.jobs.calibrate import Answering, calibrate
from clinprompt.jobs.comparison.learned import Learned
from clinprompt.jobs.comparison.search_table import judged_value, table_of_trials
from clinprompt.jobs.comparison.trials import (
    SEARCH_FILE,
    Trial,
    finished_trials,
    in_words,
    trials_of,
)
from clinprompt.jobs.comparison.variants import OpenVariant, Runs, check_undivided
from clinprompt.jobs.fit_method import MethodFit, bank_of, fit_method
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.metaprompts import check_unseen
from clinprompt.methods.resolve import resolve
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.examples import encode_all, examples_of
from clinprompt.runs.folder import CLAIMS, check_is_run
from clinprompt.runs.suite_data import SuiteData, cards_of, check_suite, load_apart, load_suite
from clinprompt.runs.task_rows import TaskRows, task_rows_of
from clinprompt.settings.groups import JudgedBy, SearchSettings
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example
from clinprompt.tasks.suite import find_suite
from clinprompt.training.fit import mean_loss
from clinprompt.training.loop import DivergedError
from clinprompt.training.progress import Reporter


def search(folder: Path, config: RunConfig, *, mirror: Path | None, reporter: Reporter) -> Table:
    """Run every missing trial; return the trials of each method, the best first.

    Raises:
        SettingError: the config has no [search], or a held-out task is a source or a target.
        ClinpromptError: a task, file or backbone is not usable.
    """
    plan = config.search
    if plan is None:
        raise SettingError(f"{config.name}: has no section [search]; see configs/search.toml")
    check_undivided(config)
    config = check_methods(config)
    settings = {(config.backbone, ""): resolve(config)}
    _check_input_forms(settings[config.backbone, ""], plan)
    suite = _suite(config, plan, mirror)
    check_is_run(folder)
    claims = Claims(folder / CLAIMS)
    runs = Runs(folder, config.backbone, settings, suite, mirror, claims, reporter)
    learned, path = Learned(runs), folder / SEARCH_FILE
    held_out = [load_apart(card, mirror) for card in cards_of(plan.tasks).values()]
    for trial in trials_of(plan, held_out):
        with claims.claim(trial.key) as is_ours:
            if is_ours and trial.key not in finished_trials(path, plan.judged_by):
                line = _run_trial(learned, trial, plan.judged_by)
                append_line(path, json.dumps(line, allow_nan=False))
                what = line["metric"] if plan.judged_by == "score" else "loss"
                found = f"{line['task']}: {what} {judged_value(line[plan.judged_by]):.3f}"
                reporter.say(f"{line['method']} {line['settings']}  {found}")
    return table_of_trials(plan, finished_trials(path, plan.judged_by))


def _suite(config: RunConfig, settings: SearchSettings, mirror: Path | None) -> SuiteData:
    """Load the sources if a metaprompt must be distilled first; check the held-out tasks."""
    whole, held_out = find_suite(config.suite), cards_of(settings.tasks)
    if seen := sorted(held_out.keys() & cards_of([*whole.sources, *whole.targets]).keys()):
        raise SettingError(
            f"search.tasks: {seen[0]} is a source or target of suite {whole.name}; hold back others"
        )
    needed = any(METHODS[name].needs_metaprompt for name in settings.trials)
    learns = needed and not config.metaprompt
    suite = load_suite(
        config.suite, config.data, mirror, with_sources=learns, targets=None if learns else ()
    )
    check_suite(suite, config, more_tasks=settings.tasks)
    return suite


def _check_input_forms(config: RunConfig, plan: SearchSettings) -> None:
    """Check that no trial reads a metaprompt's inputs in another form than it was trained with."""
    form = config.data.input_form
    for name in (one for one in plan.trials if METHODS[one].needs_metaprompt):
        for number, changes in enumerate(plan.trials[name]):
            source = _place_of(name, number)
            own = config.changed(dict(changes), source=source).data.input_form
            if own != form:
                raise SettingError(
                    f"{source}: data.input_form = {own}, but the metaprompt has {form}; leave the "
                    "setting out"
                )


def _place_of(method: str, number: int) -> str:
    """Return where the changed settings of a trial are written."""
    return f"search.trials.{method}, trial {number + 1}"


def _run_trial(learned: Learned, trial: Trial, judged_by: JudgedBy) -> dict[str, Any]:
    """Fit the trial's method and return its line of results, with a score if it is judged by it.

    A trial that diverges has no loss and a score of 0, so the search goes on with the others.
    """
    runs, source = learned.runs, _place_of(trial.method, trial.number)
    method, card = METHODS[trial.method], trial.data.card
    metaprompt: Artifact | None = None
    if method.needs_metaprompt:
        metaprompt = learned.metaprompt(runs.backbone, "")
        check_unseen(metaprompt, (card.name,))
    plain = runs.open_plain()
    runs.record_tasks(plain, [trial.data])
    workspace = plain.workspace
    config = plain.config.changed(dict(trial.changes), source=source).at(trial.shots)
    task_rows = _rows_under(config, plain)
    rows = task_rows.shots(trial.data, trial.shots, seed=trial.seed)
    changed = replace(plain, config=config, task_rows=task_rows)
    start = changed.start(card, rows, seed=trial.seed, metaprompt=metaprompt)
    try:
        results = _results(changed, trial, MethodFit(method, start, trial.phase), judged_by)
    except DivergedError:
        runs.reporter.say(f"{source}: diverged on {card.name}, so it counts as the worst one")
        scored = {"metric": card.metric, "score": 0.0} if judged_by == "score" else {}
        results = _DIVERGED | scored
    workspace.forget(trial.phase)
    return {
        "key": trial.key,
        "method": trial.method,
        "settings": in_words(trial.changes),
        "task": card.name,
        "shots": trial.shots,
        "seed": trial.seed,
        **results,
    }


def _results(
    opened: OpenVariant, trial: Trial, fit: MethodFit, judged_by: JudgedBy
) -> dict[str, Any]:
    """Fit a method and return how it is judged, with the loss on the judging rows.

    Raises:
        DivergedError: a loss or a gradient is not finite.
    """
    with fit_method(fit, opened.workspace) as fitted:
        examples = _judging_examples(opened.task_rows, trial.data)
        rows = _judging_rows(opened.task_rows, trial.data, examples)
        loss = mean_loss(opened.backbone, fitted.tuner, rows)
        if not math.isfinite(loss):
            raise DivergedError(f"{fit.name}: the loss on the judging rows is {loss}")
        scored: dict[str, Any] = {}
        if judged_by == "score":
            cell = _scored(opened, trial, fitted.tuner, examples)
            scored = {"metric": cell.metric, "score": cell.value}
        progress = fitted.progress
    return {
        **scored,
        "loss": loss,
        "training_loss": progress.last_loss if progress.step else None,
        "steps": progress.step,
        "seconds": progress.seconds,
    }


_DIVERGED: dict[str, Any] = {"loss": None, "training_loss": None, "steps": 0, "seconds": 0.0}


def _rows_under(config: RunConfig, plain: OpenVariant) -> TaskRows:
    """Return the encoded rows of the plain run if these settings encode the same, else new ones."""
    before = plain.config
    is_same = (config.data, config.prompt.length) == (before.data, before.prompt.length)
    return plain.task_rows if is_same else task_rows_of(config, plain.backbone)


def _judging_examples(task_rows: TaskRows, data: TaskData) -> tuple[Example, ...]:
    """Return validation examples, or test examples if the held-out task has no validation rows."""
    split: Split = "validation" if data.splits["validation"] else "test"
    return examples_of(data, split, limit=task_rows.settings.validation_rows, seed=task_rows.seed)


def _judging_rows(
    task_rows: TaskRows, data: TaskData, examples: Sequence[Example]
) -> tuple[Row, ...]:
    """Return the encoded rows of examples, of which the loss is computed.

    Raises:
        RunError: every answer is too long.
    """
    encoded = encode_all(task_rows.encoder(), data.card, examples)
    rows = tuple(row for row in encoded if not row.target_was_cut)
    if not rows:
        raise RunError(
            f"{data.card.name}: no validation row has an answer that fits; raise "
            "data.max_target_tokens, or hold back another task"
        )
    return rows


def _scored(opened: OpenVariant, trial: Trial, tuner: Tuner, examples: Sequence[Example]) -> Cell:
    """Answer examples with a fitted tuner, and score the answers by the metric of their task.

    Answers are calibrated as those of a cell with few shots are.
    """
    bank, encoder = bank_of(opened.backbone, [tuner]), opened.task_rows.encoder()
    calibration = calibrate(
        Answering(opened.backbone, encoder, bank),
        trial.data,
        opened.config.data,
        seed=opened.config.seed,
        may_validate=False,
    )
    given = CellInput(
        backbone_name=plain_name(opened.config.backbone),
        card=trial.data.card,
        examples=examples,
        encoder=encoder,
        method=trial.method,
        shots=trial.shots,
        seed=trial.seed,
        interval_seed=opened.config.seed,
        calibration=calibration,
    )
    return score_cell(opened.backbone, given, bank)
