"""Score a saved prompt on the test rows of a task."""

from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from clinprompt.errors import ArtifactError, RunError, SettingError
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.score_cells import CellInput, score_cell, scores_of
from clinprompt.jobs.annotate import LoadedPrompt
from clinprompt.prompts.artifact import load_artifact, of_other_version, save_scores
from clinprompt.runs.examples import examples_of
from clinprompt.runs.suite_data import load_apart
from clinprompt.settings.defaults import TEST_ROWS
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard, catalog
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example
from clinprompt.training.progress import Reporter, Silent, counting_answers


def data_of(loaded: LoadedPrompt, mirror: Path | None) -> TaskData:
    """Return the data of the task that a saved prompt was trained for.

    Raises:
        SettingError: the task is not in the catalog, so its folder must be named.
        DataError: a file of the task is missing or damaged.
    """
    card = loaded.card
    if card.name not in catalog():
        raise SettingError(
            f"{card.name}: a task of your own; name its folder: --task FOLDER, in Python "
            'evaluate("FOLDER")'
        )
    known = card.model_copy(update={"path": catalog()[card.name]})
    return load_apart(known, mirror)


def evaluate_prompt(
    loaded: LoadedPrompt,
    data: TaskData,
    *,
    num_rows: int,
    allow_other_task: bool = False,
    reporter: Reporter | None = None,
) -> Cell:
    """Score a saved prompt on at most ``num_rows`` test rows of a task.

    Raises:
        ArtifactError: the prompt was saved with settings that this version does not know.
        SettingError: the task has other labels or another kind of answer than that of the prompt,
            and ``allow_other_task`` is not set; or it is the prompt's own with other splits.
    """
    config, examples = rows_of_test(
        loaded, data, num_rows=num_rows, allow_other_task=allow_other_task
    )
    manifest, reporter = loaded.artifact.manifest, reporter or Silent()
    reporter.say(f"{data.card.name}: answer {len(examples)} test records")
    return score_cell(
        loaded.backbone,
        CellInput(
            backbone_name=plain_name(config.backbone),
            card=data.card,
            examples=examples,
            encoder=loaded.encoder(),
            method=manifest.method + (" (other backbone)" if loaded.is_foreign else ""),
            shots=manifest.shots,
            seed=manifest.seed,
            interval_seed=config.seed,
            calibration=loaded.calibration,
        ),
        loaded.bank(),
        counting_answers(reporter, data.card.name),
    )


def rows_of_test(
    loaded: LoadedPrompt, data: TaskData, *, num_rows: int, allow_other_task: bool = False
) -> tuple[RunConfig, tuple[Example, ...]]:
    """Return the settings of a saved prompt and the test rows that it is scored on.

    Raises:
        ArtifactError, SettingError: as in ``evaluate_prompt``.
    """
    if not allow_other_task:
        _check_same_answers(loaded.card, data.card)
    _check_same_splits(loaded.card, data.card)
    manifest = loaded.artifact.manifest
    try:
        config = RunConfig.model_validate(manifest.settings)
    except ValidationError as error:
        raise of_other_version(manifest, error) from error
    return config, examples_of(data, "test", limit=num_rows, seed=config.seed)


def keep_score(folder: Path, loaded: LoadedPrompt, data: TaskData, cell: Cell) -> LoadedPrompt:
    """Save a score in the manifest of the prompt's folder; return the prompt with this manifest.

    Only the score of the prompt as it was trained is saved: on its own task and backbone, with its
    own rules for answers, and on at least as many test rows as are evaluated by default. If the
    folder cannot be written or has another prompt by now, nothing is saved.
    """
    manifest = loaded.artifact.manifest
    is_own = data.card.name == loaded.card.name and not loaded.is_foreign
    is_constrained = loaded.data == DataSettings.model_validate(manifest.settings["data"])
    is_whole = cell.num_rows >= min(TEST_ROWS, len(data.splits["test"]))
    if not (is_own and is_constrained and is_whole):
        return loaded
    try:
        saved = load_artifact(folder).manifest
        if saved.content_hash != manifest.content_hash:
            return loaded
        save_scores(folder, scores_of(cell))
    except (ArtifactError, RunError):
        return loaded
    scored = saved.model_copy(update={"scores": scores_of(cell)})
    return replace(loaded, artifact=loaded.artifact.model_copy(update={"manifest": scored}))


def _check_same_answers(own: TaskCard, other: TaskCard) -> None:
    """Check that a task has the same kind of answer and the same labels as the prompt's own."""
    kind, others = (
        f"type {own.type}, answer {own.answer}",
        f"type {other.type}, answer {other.answer}",
    )
    if kind == others:
        kind, others = (f"labels {', '.join(card.labels) or 'none'}" for card in (own, other))
    if (own.type, own.answer, set(own.labels)) != (other.type, other.answer, set(other.labels)):
        raise SettingError(
            f"the prompt was trained for {own.name} ({kind}), but task {other.name} is another "
            f"({others}), so its score would mean little; name a task with the same answers, or "
            "allow it: --allow-other-task, in Python allow_other_task=True"
        )


def _check_same_splits(trained: TaskCard, given: TaskCard) -> None:
    """Check that the test records of a task were test records when a prompt was trained for it."""
    names = ("files", "resplit", "reader", "readers") if trained.name == given.name else ()
    changed = [name for name in names if getattr(trained, name) != getattr(given, name)]
    if changed:
        raise SettingError(
            f"{given.name}: {', '.join(changed)} of its card changed since the prompt was trained, "
            "so its test records may have been training records; undo the change, or adapt the "
            "changed task in a new folder and evaluate that prompt"
        )
