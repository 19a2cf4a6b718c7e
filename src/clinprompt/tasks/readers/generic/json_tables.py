"""Load JSON and check the types of its values. Knows nothing of single data sets."""

import json
from collections.abc import Iterator, Mapping

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import one_line


def load_object(file: DataFile) -> dict[str, object]:
    """Return the JSON object in a file.

    Raises:
        DataError: the file is not one JSON object.
    """
    return _parse_object(file, file.text())


def load_lines(file: DataFile) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield line number and JSON object of each line that is not blank.

    Raises:
        DataError: a line is not one JSON object.
    """
    for number, line in file.filled_lines():
        yield number, _parse_object(file, line, number)


def load_list(file: DataFile) -> list[object]:
    """Return the JSON array in a file.

    Raises:
        DataError: the file is not one JSON array.
    """
    values = _parse(file, file.text(), None, "export the file again")
    if not isinstance(values, list):
        raise file.error("not a JSON array; export the file again")
    return values


def _parse_object(file: DataFile, content: str, line: int | None = None) -> dict[str, object]:
    remedy = "give one object per line" if line else "fetch the file again"
    values = _parse(file, content, line, remedy)
    if not isinstance(values, dict):
        raise file.error(f"not a JSON object; {remedy}", line)
    return values


def _parse(file: DataFile, content: str, line: int | None, remedy: str) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        place = f"at column {error.colno}"
        raise file.error(
            f"not JSON: {error.msg} {place}; {remedy}", line or error.lineno
        ) from error
    except (ValueError, RecursionError) as error:
        raise file.error(f"a number is too long or lists are too deep; {remedy}", line) from error


def table(value: object, name: str) -> Mapping[str, object]:
    """Return ``value`` if it is a JSON object; ``name`` names it in the error otherwise."""
    if not isinstance(value, dict):
        raise DataError(f"{name}: must be a JSON object")
    return value


def items(values: Mapping[str, object], key: str, name: str) -> list[object]:
    """Return the list at ``key`` of the object that errors call ``name``."""
    value = values.get(key)
    if not isinstance(value, list):
        raise DataError(f"{name}: no list {key!r}")
    return value


def text(values: Mapping[str, object], key: str, name: str) -> str:
    """Return the text at ``key`` on one line; errors call the object ``name``."""
    value = values.get(key)
    if not isinstance(value, str):
        raise DataError(f"{name}: no text {key!r}")
    return one_line(value)


def identity(values: Mapping[str, object], key: str, name: str) -> str:
    """Return the text or whole number at ``key``; errors call the object ``name``."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{name}: {key!r} must be a text or a whole number")
    return str(value)


def strings(values: list[object], name: str) -> list[str]:
    """Return a list of texts, each on one line; errors call the list ``name``."""
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{name}: must be a list of texts")
    return [one_line(str(value)) for value in values]
