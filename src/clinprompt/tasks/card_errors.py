"""Turn pydantic's errors on a card or suite into messages for its author. Reads no files."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from clinprompt.errors import did_you_mean
from clinprompt.settings.plain_messages import plain_message

_Models = Sequence[type[BaseModel]]


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Return a message on the first error; a misspelled key comes before a missing one."""
    problems = error.errors(include_url=False, include_input=False)
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    parts, models = _follow(first["loc"], (model,))
    place = ".".join(parts)
    if first["type"] == "extra_forbidden":
        known = {key for one in models for key in one.model_fields}
        return f"{place}: no such setting; {did_you_mean(parts[-1], known)}"
    if first["type"] == "union_tag_invalid":
        found, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "")
        return f"{place}.name: no reader {found!r}; {did_you_mean(found, tags.split(', '))}"
    return f"{place or 'card'}: {plain_message(first)}"


def _follow(loc: Sequence[int | str], models: _Models) -> tuple[list[str], _Models]:
    """Return the keys that lead to a place in a card, and the models that may have the last key."""
    parts: list[str] = []
    for part in loc[:-1]:
        tagged = [model for model in models if part in _tags(model)]
        if tagged:  # pydantic counts the name of a reader as a key
            models = tagged
            continue
        fields = [model.model_fields[str(part)] for model in models if part in model.model_fields]
        models = [one for field in fields for one in _models_in(field.annotation)] or models
        parts.append(str(part))
    return [*parts, *map(str, loc[-1:])], models


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    name = model.model_fields.get("name")
    return get_args(name.annotation) if name else ()


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
