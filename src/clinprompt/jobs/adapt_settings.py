"""Find the settings that a metaprompt is adapted with: its own, with changes on top."""

from pathlib import Path
from typing import Any

from clinprompt.errors import SettingError, option
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.settings.defaults import SHIPPED
from clinprompt.settings.run import Changes, RunConfig, check_config


def adapt_config(metaprompt: str, settings: Changes | RunConfig = ()) -> RunConfig:
    """Return the settings of an adaptation: the metaprompt's own, with changes on top.

    Of a config, what it sets is a change; what it leaves out is as in the metaprompt.

    Raises:
        ArtifactError: the folder does not hold a metaprompt.
        SettingError: a change is unknown or out of range, or names another metaprompt.
    """
    if isinstance(settings, RunConfig):
        settings = settings.model_dump(exclude_unset=True)
    values = settings_of(metaprompt) | {"name": "adapt", "metaprompt": ""}
    config = check_config(values, source="settings", overrides=settings)
    if config.metaprompt and not _is_same(config.metaprompt, metaprompt):
        raise SettingError(
            f"metaprompt = {config.metaprompt!r} is not the one that is adapted; give "
            f"{option('metaprompt')} for it, and leave the setting out"
        )
    return check_methods(config).model_copy(update={"metaprompt": metaprompt})


def _is_same(one: str, other: str) -> bool:
    """Return whether two names of metaprompts, "shipped" or folders, mean the same one."""
    return one == other or (
        SHIPPED not in (one, other) and Path(one).resolve() == Path(other).resolve()
    )


def settings_of(metaprompt: str) -> dict[str, Any]:
    """Return the settings of the run that made a metaprompt, as plain values, to adapt it with.

    Those for single numbers of examples (``at_shots``) are left out, because they would win over
    changes. For the metaprompt in the package, return only the settings that do not depend on its
    data.

    Raises:
        ArtifactError: the folder does not hold a metaprompt.
    """
    settings = find_metaprompt(metaprompt).manifest.settings
    if metaprompt != SHIPPED:
        return {name: value for name, value in settings.items() if name != "at_shots"}
    return {name: settings[name] for name in ("backbone", "prompt", "adapt")}
