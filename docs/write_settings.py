"""Write settings.md from the groups of settings. Run: python docs/write_settings.py."""

import inspect
from pathlib import Path
from typing import Any, get_args

from markdown_table import markdown_table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clinprompt.settings.run import RunConfig

PAGE = Path(__file__).parent / "settings.md"
INTRO = """\
# Settings

This page is written by `python docs/write_settings.py` from `src/clinprompt/settings/`. A setting
is changed in a TOML file (`[adapt]`, then `steps = 40`), on the command line (`--set
adapt.steps=40`) or in Python (`settings={"adapt.steps": 40}`).

Instead of these defaults, `adapt` takes `backbone`, `[prompt]`, `[adapt]` and `data.input_form`
from the packaged metaprompt, or all settings except `[at_shots]` from a metaprompt of your own."""
ENVIRONMENT = """\
## Environment variables

| variable | meaning |
| --- | --- |
| `CLINPROMPT_CACHE` | cache folder, for fetched data sets (default: `~/.cache/clinprompt`) |
| `CLINPROMPT_MIRROR` | folder with the files of public data sets, as `--mirror` |
| `CLINPROMPT_FETCH_BASE` | address of a server that `tasks fetch` downloads everything from |
| `CLINPROMPT_TRACEBACK` | `1` shows the message of a bug, which may hold text of records |"""
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")


def page_text() -> str:
    """Return the page: the settings of a run, then those of each group."""
    plain = {name: one for name, one in RunConfig.model_fields.items() if not _group_of(one)}
    parts = [INTRO, "## A run", about(RunConfig), _table("", plain)]
    for name, field in RunConfig.model_fields.items():
        if group := _group_of(field):
            parts += [f"## `{name}`", about(group), _table(f"{name}.", group.model_fields)]
    return "\n\n".join([*parts, ENVIRONMENT]) + "\n"


def _group_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the group of settings that a field holds, or None if it holds a plain value."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((one for one in kinds if inspect.isclass(one) and issubclass(one, BaseModel)), None)


def about(group: type[BaseModel]) -> str:
    """Return the docstring of a group, whose literals are written as code."""
    return inspect.cleandoc(group.__doc__ or "").replace("``", "`")


def _table(section: str, fields: dict[str, FieldInfo]) -> str:
    rows = [
        (f"`{section}{name}`", default_text(one), allowed_text(one), one.description or "")
        for name, one in fields.items()
    ]
    return markdown_table(("setting", "default", "allowed", "meaning"), rows)


def default_text(field: FieldInfo) -> str:
    """Return the default of a field as it is written in TOML, as code in a table."""
    if field.is_required():
        return "must be given"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel):
        return "none"
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    """Return a default as it is written in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def allowed_text(field: FieldInfo) -> str:
    """Return the words or numbers that a setting may be, if they are limited."""
    words = [
        f"`{one}`" if one else '`""`'
        for one in get_args(field.annotation)
        if isinstance(one, str | int)
    ]
    limits = [
        f"{limit} {getattr(one, name)}"
        for one in field.metadata
        for name, limit in _LIMITS.items()
        if getattr(one, name, None) is not None
    ]
    return ", ".join([*words, *limits])


if __name__ == "__main__":
    main()
