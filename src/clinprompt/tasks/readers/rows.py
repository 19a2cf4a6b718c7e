"""Turn one row of named values into a record. Knows nothing of the file that the row came from."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from string import ascii_uppercase
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from clinprompt.errors import DataError
from clinprompt.tasks.example import Answer, LabelAnswer, Record, TextAnswer

LETTERS = ascii_uppercase


class RowShape(BaseModel):
    """Which value of a row becomes what in a record; values are named as the format names them.

    ``fields`` maps each field of the record to a value. The answer is a ``label`` or a ``text``;
    with ``options`` (one value that holds them all, or one value each) the label is a letter. With
    ``above``, the label is "1" where the value is a number above it and "0" elsewhere. Whitespace
    runs become single blanks unless ``verbatim``, which keeps offsets into the text true.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: dict[str, str]
    id: str = ""
    group: str = ""
    label: str = ""
    text: str = ""
    options: str | tuple[str, ...] = ()
    above: float | None = None
    verbatim: bool = False

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.label and self.text:
            raise ValueError("give label or text, not both; a record has one answer")
        if (self.options or self.above is not None) and not self.label:
            raise ValueError("options and above have no effect without label")
        return self

    def names(self) -> tuple[str, ...]:
        """Return every value of the row that this shape reads."""
        options = (self.options,) if isinstance(self.options, str) else self.options
        names = (*self.fields.values(), self.id, self.group, self.label, self.text, *options)
        return tuple(dict.fromkeys(name for name in names if name))

    def record(self, row: Mapping[str, object], place: str) -> Record:
        """Return the record of one row; ``place`` is its id where the row gives none.

        Raises:
            DataError: a value is missing, or is not of its kind. The reader adds file and line.
        """
        return Record(
            id=self._get(row, self.id) if self.id else place,
            fields={name: self._get(row, value) for name, value in self.fields.items()},
            answer=self._answer(row),
            options=self._options(row),
            group=self._get(row, self.group) if self.group else "",
        )

    def _get(self, row: Mapping[str, object], name: str) -> str:
        text = _words(_value(row, name), name)
        return text if self.verbatim else " ".join(text.split())

    def _answer(self, row: Mapping[str, object]) -> Answer | None:
        if self.text:
            return TextAnswer(" ".join(self._get(row, self.text).split()))
        if not self.label:
            return None
        label = self._get(row, self.label).strip()
        return LabelAnswer(label if self.above is None else self._is_above(label))

    def _is_above(self, label: str) -> str:
        try:
            return "1" if float(label) > (self.above or 0.0) else "0"
        except ValueError as error:
            raise DataError(f"{self.label} is not a number, but reader.row.above is set") from error

    def _options(self, row: Mapping[str, object]) -> tuple[str, ...]:
        if not isinstance(self.options, str):
            return tuple(self._get(row, name) for name in self.options)
        held = _value(row, self.options)
        if isinstance(held, Mapping):
            if list(held) != list(LETTERS[: len(held)]):
                raise DataError(f"{self.options}: keys must be the letters A, B, C ... in order")
            held = list(held.values())
        if not isinstance(held, list | tuple):
            raise DataError(f"{self.options} must hold a list, or a table of letters")
        return tuple(" ".join(_words(option, self.options).split()) for option in held)


def no_value(name: str, known: Iterable[str]) -> str:
    """Say that a name is missing, and which is near. The others are not shown: they may be text."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "mend reader.row"
    return f"no value named {name!r}; {hint}"


def _value(row: Mapping[str, object], name: str) -> object:
    if name not in row:
        raise DataError(no_value(name, row))
    return row[name]


def _words(value: object, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    kind = "empty" if value is None else f"a {type(value).__name__}"
    raise DataError(f"value {name!r} is {kind}; text or a number is needed")
