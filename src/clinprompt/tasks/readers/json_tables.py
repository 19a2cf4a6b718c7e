"""Load a whole JSON file and look into it. Knows nothing of the data sets whose readers use it."""

import json
from collections.abc import Mapping

from clinprompt.errors import DataError
from clinprompt.tasks.readers.files import DataFile


def load_object(file: DataFile) -> dict[str, object]:
    """Return the one JSON object that a file holds.

    Raises:
        DataError: the file is not JSON or holds something else.
    """
    try:
        values = json.loads(file.text())
    except json.JSONDecodeError as error:
        raise file.error(f"not JSON: {error.msg}; fetch the file again", error.lineno) from error
    if not isinstance(values, dict):
        raise file.error("not a JSON object; this reader needs one at the top")
    return values


def table(value: object, name: str) -> Mapping[str, object]:
    """Return ``value`` as a JSON object, or say that ``name`` is none."""
    if not isinstance(value, dict):
        raise DataError(f"{name}: a JSON object is needed")
    return value


def items(values: Mapping[str, object], key: str, name: str) -> list[object]:
    """Return the list below ``key``, or say that ``name`` has none."""
    held = values.get(key)
    if not isinstance(held, list):
        raise DataError(f"{name}: no list {key!r}")
    return held


def text(values: Mapping[str, object], key: str, name: str) -> str:
    """Return the text below ``key``, whitespace runs as blanks, or say that ``name`` has none."""
    held = values.get(key)
    if not isinstance(held, str):
        raise DataError(f"{name}: no text {key!r}")
    return " ".join(held.split())


def strings(values: list[object], name: str) -> list[str]:
    """Return a list of texts with whitespace runs as blanks, or say that ``name`` holds others."""
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{name}: a list of texts is needed")
    return [" ".join(str(value).split()) for value in values]
