"""Check whether a folder may hold a run: its files must come from a run with the same settings.

Knows the files of a run folder by name, and nothing of what they mean.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError, option
from clinprompt.files import complete_lines, locked
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig

CLAIMS = "claims"  # the folder of lock files by which processes share a run
_ALONE = ".run.lock"
_MAY_CHANGE = {
    "compare",
    "device",
    "variants",
    "search",
    "tensor_parallel",
    "gradient_checkpointing",
}
_RESULTS = ("cells.jsonl", "search.jsonl")
_BEGUN = ("metrics.jsonl", "finished.json", *_RESULTS, "checkpoints/*", "store/*")
_SHOTS_IN_NAME = re.compile(r"-k([0-9]+|all)-")
_CHOOSE_ANOTHER = f"choose another {option('out', argument='folder')}"
_BEFORE_RESULTS = {"teachers", "metaprompts"}  # in the store, as "sources" is


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that adapt, distill or tune out of a run's folder during the block.

    The lock ends with its process, even if that is killed. Check before whether the folder may hold
    the run. A folder that was made for the lock is removed again if the block fails before it
    writes anything.

    Raises:
        RunError: another process works in the folder, or the folder cannot be written.
    """
    is_new, lock = not folder.exists(), folder / _ALONE
    with locked(lock, wait=False) as is_ours:
        if not is_ours:
            raise RunError(
                f"{folder}: another process works on this run; wait until it ends or stop it, "
                f"then run the same command again, or {_CHOOSE_ANOTHER}"
            )
        try:
            yield
        finally:
            if is_new and list(folder.iterdir()) == [lock]:
                with suppress(OSError):
                    lock.unlink()
                    folder.rmdir()


def check_is_run(folder: Path) -> bool:
    """Return whether a folder holds a run. If not, a run may start in it only if it is empty.

    Raises:
        RunError: the folder holds something else.
    """
    config = folder / "config.json"
    if not config.is_file() and folder.is_dir():
        # Hidden files are half-written, perhaps by a process that starts this run right now.
        others = [path for path in folder.iterdir() if path.name != CLAIMS and path.name[0] != "."]
        if others and not config.is_file():
            raise RunError(f"{folder}: not empty and not a run; {_CHOOSE_ANOTHER}")
    return config.is_file()


def check_folder(folder: Path, config: RunConfig, *, results_folder: Path) -> None:
    """Check that a folder is empty, or holds a run with these settings.

    All settings may differ as long as nothing was trained or scored. Settings of the grid may
    differ. Settings of adaptation may differ as long as there is no
    result, neither in the folder nor in ``results_folder``; those for a number of examples
    (``at_shots``) as long as there is no result with that number.

    Raises:
        RunError: it holds a run with other settings, or something else.
    """
    if not check_is_run(folder):
        return
    before = _fixed(read_json(folder / "config.json"))
    if not has_begun(folder, results_folder):
        return
    now = _fixed(config.model_dump(mode="json"))
    begun = _shots_of_results(folder, results_folder)
    before, now = (_with_shots(settings, begun) for settings in (before, now))
    may_change = _MAY_CHANGE | _of_missing_results(folder, results_folder)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed := [key for key in changed if key not in may_change]:
        first = _difference(changed[0], before.get(changed[0]), now.get(changed[0]))
        more = f" (also {', '.join(changed[1:])})" if changed[1:] else ""
        raise RunError(
            f"{folder}: holds a run with other settings: {first}{more}; give the settings of that "
            f"run, or {_CHOOSE_ANOTHER}"
        )


def _difference(name: str, before: object, now: object) -> str:
    """Return the first setting that differs, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        return _difference(f"{name}.{keys[0]}", before.get(keys[0]), now.get(keys[0]))
    return f"{name} is {json.dumps(before)} there, and {json.dumps(now)} here"


def check_same_backbone(folder: Path, *, fingerprint: str, name: str) -> None:
    """Check that the run in a folder, if any, uses this backbone.

    Raises:
        RunError: it uses another backbone.
    """
    path = folder / "environment.json"
    if (
        path.is_file()
        and read_json(path).get("backbone") != fingerprint
        and has_begun(folder, folder)
    ):
        raise RunError(
            f"{folder}: holds a run with another backbone than {name}; {_CHOOSE_ANOTHER}"
        )


def has_begun(folder: Path, results_folder: Path) -> bool:
    """Return whether anything was trained or scored in a run, its variants or its backbones.

    A copy of a metaprompt that the run was given does not count.
    """
    found = (path for pattern in _BEGUN for path in folder.rglob(pattern))
    return any(path.name != "metaprompts" for path in found) or any(
        (results_folder / name).is_file() for name in _RESULTS
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that a run wrote.

    Raises:
        RunError: it is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise damaged(path) from error


def damaged(path: Path) -> RunError:
    """Return the error for a damaged file of a run."""
    return RunError(f"{path}: damaged; {_CHOOSE_ANOTHER}, or delete the folder")


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are compared: all but two, with plain names for local paths.

    ``distill.cache_teachers`` and ``teacher.together`` may change, for instance if the disk is full
    or the run moves to another machine. They change results by no more than rounding: the cache is
    in float16, and teachers trained side by side equal teachers trained alone up to rounding. With
    another ``teacher.together``, a group of teachers that was being trained starts again. Hashes
    of backbone and suite are checked elsewhere.
    """
    free = {"distill": "cache_teachers", "teacher": "together"}
    groups = {name: settings[name] for name in free if isinstance(settings.get(name), dict)}
    names = {name: plain_name(settings[name]) for name in ("backbone", "suite") if name in settings}
    return (
        settings
        | names
        | {
            name: {key: value for key, value in group.items() if key != free[name]}
            for name, group in groups.items()
        }
    )


def _with_shots(settings: dict[str, Any], begun: set[str]) -> dict[str, Any]:
    """Return settings in which ``at_shots`` has only these numbers of examples."""
    own = settings.get("at_shots")
    if not isinstance(own, dict):
        return settings
    return settings | {"at_shots": {shots: own[shots] for shots in own.keys() & begun}}


def _shots_of_results(folder: Path, results_folder: Path) -> set[str]:
    """Return the numbers of examples ("all" too) that a fit was started with, or a cell scored."""
    fitted = chain((folder / "checkpoints").glob("*"), (folder / "store").glob("*/*"))
    found = {match[1] for path in fitted if (match := _SHOTS_IN_NAME.search(path.name))}
    # ``adapt`` saves prompts under short names.
    for manifest in (folder / "store").glob(f"*/{MANIFEST}"):
        found.add(str(read_json(manifest).get("shots")))
    for line in chain(*(complete_lines(results_folder / name)[0] for name in _RESULTS)):
        # A damaged line is named by those who read the results.
        with suppress(ValueError, KeyError, TypeError):
            found.add(str(json.loads(line)["shots"]))
    return found


def _of_missing_results(folder: Path, results_folder: Path) -> set[str]:
    """Return the groups of settings that nothing was made with yet: those of fits to targets.

    Methods that learn from the source tasks use the baselines, but not the settings of adaptation.
    """
    checkpoints = (folder / "checkpoints").glob("*.safetensors*")  # also those before the last ones
    started = {path.name.partition(".safetensors")[0] for path in checkpoints} - {"distill"}
    on_sources = {name for name in started if "__" not in name}  # the others are TASK__METHOD
    on_targets = {name for name in started - on_sources if not name.startswith("teachers__")}
    saved = {path.name for path in (folder / "store").glob("*")} - _BEFORE_RESULTS
    has_scores = any((results_folder / name).is_file() for name in _RESULTS)
    if on_targets or saved - {"sources"} or has_scores:
        return set()
    return {"adapt"} if on_sources or saved else {"adapt", "baselines"}
