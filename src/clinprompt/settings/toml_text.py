"""Parse TOML that others may have written: all that can be wrong with it is one kind of error."""

import tomllib
from typing import Any

_MAX_DEPTH = 40  # of tables and lists in each other; the deepest setting is at 5


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: it is not TOML, a number is too long, or it is nested too deeply.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # of Python itself: more than 4300 digits
        raise tomllib.TOMLDecodeError("a number is too long") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from error
    if is_deeper(values, _MAX_DEPTH):
        raise tomllib.TOMLDecodeError("it is nested too deeply")
    return values


def is_deeper(value: object, depth: int) -> bool:
    """Return whether lists and tables are nested in each other more than ``depth`` times."""
    level = [value]
    for _ in range(depth + 1):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return True


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
