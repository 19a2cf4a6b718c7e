"""Find what a saved prompt was trained with: in its manifest, and in the folder of its run."""

import re
from pathlib import Path

from pydantic import ValidationError

from clinprompt.errors import ArtifactError, DataError, SettingError
from clinprompt.jobs.annotate import task_of
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import Artifact, Manifest, load_artifact, of_other_version
from clinprompt.runs.folder import read_json
from clinprompt.runs.task_hashes import TaskHashes
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData

_HASH_AT_END = re.compile(r"-([0-9a-f]{16})$")
_ALL_SHOTS = re.compile(r"-kall-seed\d+$")  # of the name of a cell


def training_config(path: Path, manifest: Manifest, data: TaskData) -> RunConfig:
    """Return the settings that a prompt was trained with, if its rows can be drawn again.

    Raises:
        ArtifactError: the manifest does not say which rows they were, or the run is not found.
        DataError: the task changed since the training.
        SettingError: the prompt was trained for another task.
    """
    card, _ = task_of(path, manifest)
    if card.name != data.card.name:
        raise SettingError(
            f"{path}: was trained for task {card.name}, not for {data.card.name}; name the task "
            "that it was trained for"
        )
    _check_names_its_rows(path, manifest)
    _check_same_records(path, data)
    try:
        return RunConfig.model_validate(manifest.settings)
    except ValidationError as error:
        raise of_other_version(manifest, error) from error


def metaprompt_in_run(path: Path, manifest: Manifest) -> Artifact:
    """Return the metaprompt that a prompt was adapted from, which is in the store of its run.

    Raises:
        ArtifactError: it is in none of the folders above the prompt, or several may be it.
    """
    suffix = _HASH_AT_END.search(manifest.name)
    wanted = manifest.metaprompt[:16] or (suffix[1] if suffix else "")
    for above in path.resolve().parents:
        for store in (above, above / "store"):
            found = [one for one in store.glob(f"metaprompts/{wanted}*") if one.is_dir()]
            if len(found) == 1:
                return load_artifact(found[0])
    raise ArtifactError(
        f"{path}: the metaprompt that it was adapted from ({wanted or 'of unknown hash'}) is in "
        "none of the folders above; give the prompt in its run: RUN/store/NAME"
    )


def _check_names_its_rows(path: Path, manifest: Manifest) -> None:
    """Check that a manifest says which rows its prompt was trained on, and how.

    Raises:
        ArtifactError: it does not.
    """
    method = METHODS.get(manifest.method)
    if not manifest.shots or _ALL_SHOTS.search(manifest.name):
        raise ArtifactError(
            f"{path}: was trained on all records or on none (method {manifest.method}), so there "
            "are no others to compare with; audit a prompt of 'adapt' with --shots of at most half "
            "of the records, in Python shots"
        )
    if method is None or method.needs_teachers or method.on_sources or method.trains != "prompt":
        raise ArtifactError(
            f"{path}: was trained with method {manifest.method}, which starts from more than its "
            "manifest names; audit a prompt of 'adapt'"
        )


def _check_same_records(path: Path, data: TaskData) -> None:
    """Check that a task's card and records are those that a prompt was trained with.

    Raises:
        ArtifactError: the run of the prompt is not found.
        DataError: they changed.
        RunError: the ``tasks.json`` of the run is damaged.
    """
    name = data.card.name
    files = [above / "tasks.json" for above in path.resolve().parents]
    saved = ((one, read_json(one)) for one in files if one.is_file())
    file, known = next(((one, tasks[name]) for one, tasks in saved if name in tasks), (path, None))
    if known is None:
        raise ArtifactError(
            f"{path}: the folder of its run is missing, so it cannot be checked that the records "
            f"of {name} are those that it was trained on; give the prompt in its run: "
            "RUN/store/NAME"
        )
    before, now = TaskHashes.read(known, file), TaskHashes.of(data)
    if before.whole != now.whole:
        raise DataError(
            f"{name}: {', '.join(now.changed(before))} changed since the prompt was trained, so "
            "the rows that it was trained on cannot be drawn again; undo the change, or adapt the "
            "changed task in a new folder and audit that prompt"
        )
