"""Tell whether a folder may hold a run: what is there must have come from the same settings.

Knows the files of a run folder by name, and nothing of what they mean.
"""

import json
from pathlib import Path
from typing import Any

from clinprompt.errors import RunError
from clinprompt.settings.run import RunConfig

CLAIMS = "claims"  # the file by which processes share a run
_MAY_CHANGE = {"compare", "device", "variants", "search"}
_OF_RESULTS = {"adapt", "baselines"}  # may change as long as there is no result
_RESULTS = ("cells.jsonl", "search.jsonl")
_BEFORE_RESULTS = {"teachers", "metaprompts"}  # in the store


def check_is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run; one that is not there or empty may become one.

    Raises:
        RunError: it holds something else.
    """
    config = folder / "config.json"
    if not config.is_file() and folder.is_dir():
        # Hidden files are half-written ones, perhaps of a process that begins this run just now.
        others = [path for path in folder.iterdir() if path.name != CLAIMS and path.name[0] != "."]
        if others and not config.is_file():
            raise RunError(f"{folder}: not empty and not a run; choose another --out")
    return config.is_file()


def check_folder(folder: Path, config: RunConfig, *, above: Path) -> None:
    """Check that a folder is empty, or holds a run with these settings.

    Settings of the grid may differ, and those of adaptation as long as there is no result, there or
    ``above``.

    Raises:
        RunError: it holds a run with other settings, or something else.
    """
    if not check_is_run(folder):
        return
    before = _fixed(read_json(folder / "config.json"))
    now = _fixed(config.model_dump(mode="json"))
    may_change = _MAY_CHANGE if _has_results(folder, above) else _MAY_CHANGE | _OF_RESULTS
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed := [key for key in changed if key not in may_change]:
        raise RunError(
            f"{folder}: holds a run with other settings ({', '.join(changed)}); go on with its own "
            "config, or choose another --out"
        )


def check_backbone(folder: Path, *, fingerprint: str, name: str) -> None:
    """Check that what is in a folder began with this backbone.

    Raises:
        RunError: it began with another.
    """
    path = folder / "environment.json"
    if path.is_file() and read_json(path).get("backbone") != fingerprint:
        raise RunError(f"{folder}: began with another backbone than {name}; choose another --out")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that a run wrote.

    Raises:
        RunError: it is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: damaged; choose another --out, or delete the folder") from error


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without what a full disk or another machine may ask to change midway.

    Teachers' answers are kept in float16, and teachers trained side by side end as alone to
    rounding: what goes on otherwise is the same method, but no longer the same to the bit. Another
    number of teachers makes other groups; one that was in hand starts anew.
    """
    free = {"distill": "cache_teachers", "teacher": "together"}
    groups = {name: settings[name] for name in free if isinstance(settings.get(name), dict)}
    return settings | {
        name: {key: value for key, value in group.items() if key != free[name]}
        for name, group in groups.items()
    }


def _has_results(folder: Path, above: Path) -> bool:
    """Tell whether something was fitted to a task, or begun to be, or scored."""
    begun = {path.stem for path in (folder / "checkpoints").glob("*.safetensors")} - {"distill"}
    saved = {path.name for path in (folder / "store").glob("*")} - _BEFORE_RESULTS
    return (
        bool(saved)
        or any((above / name).is_file() for name in _RESULTS)
        or not all(name.startswith("teachers__") for name in begun)
    )
