"""Read suites: named lists of source and target tasks. Knows nothing of the tasks."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.settings.groups import Settings
from clinprompt.settings.toml_text import parse_toml
from clinprompt.tasks.card_errors import first_problem


class Suite(Settings):
    """A named list of source tasks to learn from and target tasks to adapt to.

    Without sources, nothing can be distilled: runs over the suite need a saved metaprompt.
    ``missing`` lists what users should know that the suite does not have, one line each.
    """

    name: str
    title: str
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = Field(min_length=1)
    missing: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _keeps_targets_unseen(self) -> Self:
        if both := sorted(set(self.sources) & set(self.targets)):
            raise ValueError(
                f"{both[0]} is a source and a target, but a target must be unseen; remove one"
            )
        return self


def known_suites() -> dict[str, Path]:
    """Return the files of the suites that come with the package, by name."""
    folder = Path(str(files("clinprompt.tasks"))) / "suites"
    return {path.stem: path for path in folder.glob("*.toml")}


def find_suite(name: str) -> Suite:
    """Find a suite that comes with the package by name, or read one from a TOML file.

    Raises:
        SettingError: nothing has that name.
        DataError: the suite file is damaged.
    """
    known = known_suites()
    path = known.get(name, Path(name))
    if name not in known and not (path.suffix == ".toml" and path.is_file()):
        raise SettingError(f"unknown suite {name!r}: {did_you_mean(name, known)}")
    try:
        return Suite.model_validate(parse_toml(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as TOML: {error}") from error
    except ValidationError as error:
        raise DataError(f"{path}: not a suite: {first_problem(error, Suite)}") from error
