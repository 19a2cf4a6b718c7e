"""Names in settings that may be local paths: of backbones, suites and metaprompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clinprompt.settings.defaults import DEFAULT_BACKBONE, SHIPPED

_NEVER_PATHS = {"", DEFAULT_BACKBONE, SHIPPED}
_NAMED = ("backbone", "metaprompt", "suite")


def absolute_if_local(name: str) -> str:
    """Return the absolute path of a name that is an existing local path, else the name itself."""
    path = Path(name)
    return name if name in _NEVER_PATHS or not path.exists() else str(path.absolute())


def plain_name(name: str) -> str:
    """Return the last part of an absolute path, else the name itself.

    Paths name people and machines, so results and manifests hold plain names only.
    """
    path = Path(name)
    return path.name if path.is_absolute() else name


def with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return unchecked settings in which local paths are absolute, also those of variants."""
    known: dict[str, Any] = {}
    for name in _NAMED:
        value = values.get(name)
        # A suite in a file ends in .toml; any other name is that of a suite in the package.
        if isinstance(value, str) and (name != "suite" or value.endswith(".toml")):
            known[name] = absolute_if_local(value)
    grid, variants = values.get("compare"), values.get("variants")
    if isinstance(grid, Mapping) and isinstance(grid.get("backbones"), list | tuple):
        backbones = [absolute_if_local(one) for one in grid["backbones"] if isinstance(one, str)]
        if len(backbones) == len(grid["backbones"]):
            known["compare"] = {**grid, "backbones": backbones}
    if isinstance(variants, Mapping):
        known["variants"] = {
            name: with_absolute_paths(own) if isinstance(own, Mapping) else own
            for name, own in variants.items()
        }
    return {**values, **known}


def with_plain_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dumped settings in which paths are plain names, also those of variants."""
    known: dict[str, Any] = {name: plain_name(values[name]) for name in _NAMED if name in values}
    if backbones := values.get("compare", {}).get("backbones"):
        known["compare"] = values["compare"] | {"backbones": [plain_name(b) for b in backbones]}
    if variants := values.get("variants"):
        known["variants"] = {name: with_plain_names(own) for name, own in variants.items()}
    return {**values, **known}
