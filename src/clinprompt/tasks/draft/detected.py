"""Hold what was detected of a user's data: the settings of a reader. Opens no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.tasks.card import AnswerKind
from clinprompt.tasks.draft.columns import ColumnRoles


@dataclass(frozen=True, slots=True)
class DetectedReader:
    """The settings of a reader, the kind of answer and the fields of records.

    ``notes`` say what was guessed, and what is read differently from how it is in the files.
    """

    reader: Mapping[str, Any]
    answer: AnswerKind
    fields: tuple[str, ...]
    notes: tuple[str, ...] = ()


def of_columns(
    reader: Mapping[str, Any], columns: ColumnRoles, notes: Sequence[str] = ()
) -> DetectedReader:
    """Return the settings of a reader whose rows have columns, and the fields of its records."""
    settings = {**reader, "row": columns.row}
    if columns.spans:
        settings["spans"] = columns.spans
    fields = tuple(columns.row["fields"])
    return DetectedReader(settings, columns.answer, fields, (*notes, *columns.notes))
