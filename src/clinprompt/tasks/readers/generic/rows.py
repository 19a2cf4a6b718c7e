"""Turn one row of named values into a record. Knows nothing of the row's file."""

import ast
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from string import ascii_uppercase
from typing import Self

from pydantic import Field, model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.records import Answer, LabelAnswer, Record, TextAnswer, one_line

LETTERS = ascii_uppercase


class RowShape(Settings):
    """Which values of a row make a record; a value is named as in the file: column, key or path.

    A record has one answer, a label or a text. A value with all options is a list of texts, a
    mapping from letters, a list of ``{"key": letter, "value": text}``, or one of these in Python's
    notation as a text.
    """

    fields: dict[str, str] = Field(description="each field of the record, and its value in the row")
    id: str = Field(default="", description="the id; by default the place in the file")
    group: str = Field(
        default="", description="what records of one group have in common, such as a patient"
    )
    label: str = Field(default="", description="the answer, if it is a label")
    text: str = Field(default="", description="the answer, if it is a text")
    options: str | tuple[str, ...] = Field(
        default=(),
        description="one value with all options, or one value for each option; the label is then a "
        "letter",
    )
    above: float | None = Field(
        default=None,
        description='the label is `"1"` if the value is a number above this one, else `"0"`',
    )
    verbatim: bool = Field(
        default=False,
        description="whether fields keep runs of white space, so that offsets stay right; "
        "otherwise each becomes one blank (`jsonl` and `label_studio` with mentions keep them)",
    )

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.label and self.text:
            raise ValueError("label and text are given; a record has one answer, so give not both")
        if (self.options or self.above is not None) and not self.label:
            raise ValueError("options and above have no effect without label")
        return self

    def names(self) -> tuple[str, ...]:
        """Return the names of all values that are read."""
        options = (self.options,) if isinstance(self.options, str) else self.options
        names = (*self.fields.values(), self.id, self.group, self.label, self.text, *options)
        return tuple(dict.fromkeys(name for name in names if name))

    def record(self, row: Mapping[str, object], place: str) -> Record:
        """Return the record of one row; ``place`` becomes its id if the row has none.

        Raises:
            DataError: a value is missing or has a wrong type. The reader adds file and line.
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
        return text if self.verbatim else one_line(text)

    def _answer(self, row: Mapping[str, object]) -> Answer | None:
        if self.text:
            return TextAnswer(one_line(self._get(row, self.text)))
        if not self.label:
            return None
        label = self._get(row, self.label).strip()
        if self.options and len(label) == 1:
            label = label.upper()
        return LabelAnswer(label if self.above is None else self._is_above(label))

    def _is_above(self, label: str) -> str:
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise DataError(f"{self.label} is not a number, which reader.row.above needs")
        return "1" if number > (self.above or 0.0) else "0"

    def _options(self, row: Mapping[str, object]) -> tuple[str, ...]:
        if not isinstance(self.options, str):
            return tuple(self._get(row, name) for name in self.options)
        options = _lettered(_value(row, self.options), self.options)
        if isinstance(options, Mapping):
            if list(options) != list(LETTERS[: len(options)]):
                raise DataError(f"{self.options}: keys must be the letters A, B, C ... in order")
            options = list(options.values())
        if not isinstance(options, list | tuple):
            raise DataError(f"{self.options} must be a list, or a mapping from letters")
        return tuple(one_line(_words(option, self.options)) for option in options)


def _lettered(options: object, name: str) -> object:
    """Return options as a list or mapping if they are written as a text or a list of pairs."""
    if isinstance(options, str):
        try:
            options = ast.literal_eval(options)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise DataError(f"{name} is a text, but no list or mapping; correct it") from error
    if not (
        isinstance(options, list) and options and all(isinstance(one, Mapping) for one in options)
    ):
        return options
    lettered = {str(one.get("key")): one.get("value") for one in options}
    if len(lettered) < len(options):
        raise DataError(f"{name}: two options have one letter; rename one")
    return lettered


def no_value(name: str, known: Iterable[str]) -> str:
    """Return a message that a name is missing, with similar names; others may be clinical text."""
    return f"no value named {name!r}; {similar(name, known, otherwise='correct reader.row')}"


def similar(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return a hint with similar names, or another one if none is similar."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


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
    raise DataError(f"value {name!r} is {kind}; it must be a text or a number")
