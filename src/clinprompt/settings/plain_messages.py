"""Say in plain words what pydantic found wrong with a value."""

from collections.abc import Mapping
from typing import Any

from clinprompt.settings.groups import PATTERNS

_MESSAGES = {
    "missing": "is missing; add it",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text in quotes",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "is not of the form {pattern}",
    "list_type": "must be a list in square brackets",
    "tuple_type": "must be a list in square brackets",
    "dict_type": "must be a section with values by name",
    "model_type": "must be a section with values by name",
    "model_attributes_type": "must be a section with values by name",
    "too_short": "has too few entries; give at least {min_length}",
    "literal_error": "must be {expected}",
}


def plain_message(problem: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors, to follow the name of the setting."""
    pattern = problem.get("ctx", {}).get("pattern")
    if pattern in PATTERNS:
        return f"must be {PATTERNS[pattern]}"
    words = _MESSAGES.get(problem["type"])
    if words:
        return words.format(**problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Value error, ")
