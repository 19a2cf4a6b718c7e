"""Every error that a user can cause, as one tree. Knows nothing about what raises them.

::

    ClinpromptError            catch this to catch all of them
    ├── SettingError           a setting, name or argument that is not valid
    ├── DataError              a record, file or task that is missing, damaged or inconsistent
    ├── BackboneError          a language model that is missing, not supported or the wrong one
    ├── ArtifactError          a saved prompt or store that is damaged or does not fit
    └── RunError               a run that cannot be started or continued

A message says what is wrong, where, and what to do. It never contains the text of a record.
"""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class ClinpromptError(Exception):
    """Signal a mistake that the user can correct; the message says how."""


class SettingError(ClinpromptError):
    """Signal a setting, name or argument that is not valid."""


class DataError(ClinpromptError):
    """Signal a record, file or task that is missing, damaged or inconsistent."""


class BackboneError(ClinpromptError):
    """Signal a language model that is missing, not supported or the wrong one."""


class ArtifactError(ClinpromptError):
    """Signal a saved prompt or store that is damaged or does not fit."""


class RunError(ClinpromptError):
    """Signal a run that cannot be started or continued."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with the most similar known names, or with all names if none is similar."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"


def option(name: str, *, argument: str = "") -> str:
    """Return how an option is given: on the command line, and as which argument in Python.

    ``name`` may be followed by a placeholder of its value: ``label COLUMN``. ``argument`` is the
    name in Python if it is another one.
    """
    return f"--{name} (in Python: {argument or name.partition(' ')[0].replace('-', '_')})"


def how_to_install(extra: str) -> str:
    """Return how to install an optional part of clinprompt, which is on no package index."""
    return f"in the checkout of clinprompt, run: pip install '.[{extra}]'"


def number_of(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun, "1 task" or "2 tasks"; ``many`` is the plural if it is not -s.

    A verb may follow the noun: ``number_of(count, "task has", "tasks have")``.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def place_of(error: BaseException) -> str:
    """Return the kind of an error, and the file, function and line that raised it.

    This is what may be shown of an error that is not one of ours: its message may hold text of a
    record.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    file = Path(frames[-1].filename).name
    return f"{type(error).__name__} in {file}, {frames[-1].name}, line {frames[-1].lineno}"


def trace_of(error: BaseException) -> str:
    """Return the lines of code that led to an error, without its message and without values."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
