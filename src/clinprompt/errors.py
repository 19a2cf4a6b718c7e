"""Every error that a user can cause, as one tree. Knows nothing of what raises them.

::

    ClinpromptError            catch this one to catch all
    ├── SettingError           a setting, name or argument that cannot be used
    ├── DataError              a record, file or task that is missing, damaged or inconsistent
    ├── BackboneError          a language model that is missing, unsupported or not the right one
    ├── ArtifactError          a saved prompt or store that is damaged or does not fit
    └── RunError               a run folder that cannot be started or continued

Each message names the thing, the value and the remedy. Record text is never part of one.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ClinpromptError(Exception):
    """Signal a mistake that the user can mend; the message says how."""


class SettingError(ClinpromptError):
    """Signal a setting, name or argument that cannot be used."""


class DataError(ClinpromptError):
    """Signal a record, file or task that is missing, damaged or inconsistent."""


class BackboneError(ClinpromptError):
    """Signal a language model that is missing, unsupported or not the right one."""


class ArtifactError(ClinpromptError):
    """Signal a saved prompt or store that is damaged or does not fit."""


class RunError(ClinpromptError):
    """Signal a run folder that cannot be started or continued."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the nearest known names, or all of them when none is near."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
