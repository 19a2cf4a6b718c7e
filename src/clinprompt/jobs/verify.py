"""Check that a saved prompt and its metaprompt are unchanged, and tell where they come from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from clinprompt.backbone.load import check_fits, load_backbone_of
from clinprompt.errors import ClinpromptError
from clinprompt.jobs.annotate import task_of
from clinprompt.prompts.artifact import Manifest, load_artifact, seal_of
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.prompts.store import metaprompt_of
from clinprompt.settings.run import RunConfig

_UNKNOWN = "not recorded"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Verified:
    """What is wrong with a saved prompt, and where it and its metaprompt come from.

    ``problems`` are messages that name a file or backbone. ``remarks`` say what could not be
    checked. ``prompt`` and ``metaprompt`` are plain values; None: there is none.
    """

    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    prompt: Mapping[str, Any] | None
    metaprompt: Mapping[str, Any] | None


def verify_prompt(path: Path, *, backbone: str = "") -> Verified:
    """Check the files of a prompt, those of the metaprompt that it needs, and its backbone.

    ``backbone`` is the folder or GGUF file of the backbone, if it was moved.
    """
    problems: list[str] = []
    remarks: list[str] = []
    own = _kept(problems, lambda: load_artifact(path))
    if own is None:
        return Verified(tuple(problems), (), None, None)
    manifest = own.manifest
    _check_seal(path, problems, remarks)
    above = None
    if manifest.kind == "factors":
        found = _kept(problems, lambda: metaprompt_of(path, manifest))
        if found:
            folder, metaprompt = found
            above = metaprompt.manifest
            _check_seal(folder, problems, remarks)
    if manifest.kind != "metaprompt":
        _kept(problems, lambda: task_of(path, manifest))
    model = _kept(problems, lambda: load_backbone_of(manifest, backbone, device="cpu"))
    if model is not None:
        loaded = model
        _kept(problems, lambda: check_fits(loaded, manifest))
    return Verified(
        tuple(problems),
        tuple(remarks),
        provenance(manifest),
        provenance(above) if above else None,
    )


def _kept(problems: list[str], check: Callable[[], Value]) -> Value | None:
    """Return what a check returns; if it fails, keep its message and return None."""
    try:
        return check()
    except ClinpromptError as error:
        problems.append(str(error))
        return None


def _check_seal(path: Path, problems: list[str], remarks: list[str]) -> None:
    values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if not values.get("seal"):
        remarks.append(
            f"{path / MANIFEST}: saved by a version that did not record its hash, so changes of "
            "this file cannot be noticed"
        )
    elif seal_of(values) != values["seal"]:
        problems.append(f"{path / MANIFEST}: was changed after saving; copy the artifact again")


def provenance(manifest: Manifest) -> dict[str, Any]:
    """Return where a prompt comes from: data sets with licenses, settings, code version."""
    usual = RunConfig(name="any").model_dump(mode="json")
    return {
        "name": manifest.title,
        "kind": manifest.kind,
        "hash": manifest.content_hash,
        "method": manifest.method,
        "backbone": manifest.backbone,
        "fingerprint": manifest.fingerprint,
        "code_version": manifest.code_version,
        "examples": manifest.shots or "all",
        "seed": manifest.seed,
        "metaprompt": manifest.metaprompt,
        "data": [_data_set(task) for task in manifest.tasks],
        "changed_settings": _changed(manifest.settings, usual),
    }


def _data_set(task: Mapping[str, Any]) -> dict[str, str]:
    source = task.get("source")
    known = source if isinstance(source, Mapping) else {}
    names = ("repository", "commit", "license", "license_allows")
    return {"task": str(task["name"]), **{one: str(known.get(one) or _UNKNOWN) for one in names}}


def _changed(
    values: Mapping[str, Any], usual: Mapping[str, Any], place: str = ""
) -> dict[str, Any]:
    """Return the settings that differ from the usual ones, by ``section.key``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        known = usual.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            found |= _changed(value, known, f"{place}{name}.")
        elif value != known:
            found[f"{place}{name}"] = value
    return found
