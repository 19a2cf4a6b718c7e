"""Load a whole JSON file and look into it. Knows nothing of the data sets whose readers use it."""

import json
from collections.abc import Mapping

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import one_line


def load_object(file: DataFile) -> dict[str, object]:
    """Return the one JSON object that a file holds.

    Raises:
        DataError: the file is not JSON or holds something else.
    """
    return parse_object(file, file.text())


def parse_object(file: DataFile, content: str, line: int | None = None) -> dict[str, object]:
    """Return the one JSON object of ``content``: all of a file, or one line of it.

    Raises:
        DataError: it is not JSON or something else.
    """
    remedy = "each line holds one object" if line else "fetch the file again"
    try:
        values = json.loads(content)
    except json.JSONDecodeError as error:
        place = f"at column {error.colno}"
        raise file.error(
            f"not JSON: {error.msg} {place}; {remedy}", line or error.lineno
        ) from error
    except (ValueError, RecursionError) as error:
        raise file.error(f"a number too long or lists too deep to read; {remedy}", line) from error
    if not isinstance(values, dict):
        raise file.error(f"not a JSON object; {remedy}", line)
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
    return one_line(held)


def identity(values: Mapping[str, object], key: str, name: str) -> str:
    """Return the text or whole number below ``key``, or say that ``name`` has none."""
    held = values.get(key)
    if isinstance(held, bool) or not isinstance(held, str | int) or held == "":
        raise DataError(f"{name}: {key!r} must be a text or a whole number")
    return str(held)


def strings(values: list[object], name: str) -> list[str]:
    """Return a list of texts with whitespace runs as blanks, or say that ``name`` holds others."""
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{name}: a list of texts is needed")
    return [one_line(str(value)) for value in values]
