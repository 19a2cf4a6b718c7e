"""Look into data files to tell how they are to be read. Knows usual names, writes nothing."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from clinprompt.errors import SettingError
from clinprompt.tasks.card import SPLITS, AnswerKind, TaskType
from clinprompt.tasks.columns import Columns, Named, Row, tell_columns
from clinprompt.tasks.origin import Kind, Origin, open_origin
from clinprompt.tasks.readers.conll import TAG
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.table import DELIMITERS

_TYPES: Mapping[Kind, tuple[TaskType, ...]] = {
    "brat": ("ner", "re"),
    "conll": ("ner",),
    "table": ("re", "qa", "nli", "summarization"),
    "jsonl": get_args(TaskType),
}
_SHOWN = {"brat": "brat", "conll": "CoNLL", "table": "tables", "jsonl": "JSON Lines"}
_BARE_TYPE = "ENTITY"


@dataclass(frozen=True, slots=True)
class Told:
    """What a look into files tells: the reader's settings, the kind of answer, the fields."""

    reader: Mapping[str, Any]
    answer: AnswerKind
    fields: tuple[str, ...]


def look(place: Path, origin: Origin, type_: TaskType, named: Named) -> Told:
    """Tell from the files what a card needs to say of them; ``place`` is for errors.

    Raises:
        SettingError: the format makes no task of that type, or a named column is not there.
        DataError: a file cannot be read, or it cannot be told what is what.
    """
    files = [file for split in SPLITS for file in open_origin(origin, split)]
    _check_kind(place, origin.kind, type_, named)
    match origin.kind:
        case "brat":
            answer: AnswerKind = "relations" if type_ == "re" else "spans"
            view = "entities" if answer == "spans" else "relations"
            return Told({"name": "brat", "view": {"answer": view}}, answer, ("text",))
        case "conll":
            return Told(_conll(files), "spans", ("text",))
        case "jsonl":
            rows = [row for file in files for row in _objects(file)]
            columns = tell_columns(type_, rows, named, str(place))
            return _of_columns({"name": "jsonl"}, columns)
        case "table":
            settings, rows = _table(files, named)
            columns = tell_columns(type_, rows, named, str(place))
            return _of_columns({"name": "table", **settings}, columns)


def _check_kind(place: Path, kind: Kind, type_: TaskType, named: Named) -> None:
    if type_ not in _TYPES[kind]:
        others = " or ".join(_SHOWN[other] for other in _TYPES if type_ in _TYPES[other])
        raise SettingError(
            f"{place}: {_SHOWN[kind]} cannot hold a task of type {type_}; give {others}"
        )
    if named != Named() and kind in ("brat", "conll"):
        raise SettingError(f"{place}: {_SHOWN[kind]} has no columns to name; name none")


def _of_columns(reader: Mapping[str, Any], columns: Columns) -> Told:
    settings = {**reader, "row": columns.row}
    if columns.spans:
        settings["spans"] = columns.spans
    return Told(settings, columns.answer, tuple(columns.row["fields"]))


def _objects(file: DataFile) -> Iterator[Row]:
    for number, line in file.lines():
        if line.strip():
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise file.error(f"not JSON: {error.msg}; one object a line", number) from error
            if not isinstance(values, dict):
                raise file.error("not a JSON object; each line holds one", number)
            yield values


def _table(files: Sequence[DataFile], named: Named) -> tuple[dict[str, Any], list[Row]]:
    """Return a table reader's settings and the rows, by the delimiter that fits the first file."""
    tries = [(name, quotes) for quotes in (True, False) for name in DELIMITERS]
    for delimiter, quotes in tries:
        cells = [_cells(file, DELIMITERS[delimiter], quotes=quotes) for file in files]
        if all(rows and len({len(row) for row in rows}) == 1 < len(rows[0]) for rows in cells):
            break
    else:
        raise files[0].error(
            "no table: rows differ in their number of columns, or have one; part columns by comma, "
            "tab, semicolon or bar in every row"
        )
    header = not _is_by_number(named)
    rows: list[Row] = []
    for own in cells:
        names = own[0] if header else [str(index) for index in range(len(own[0]))]
        rows += [dict(zip(names, row, strict=True)) for row in own[header:]]
    settings: dict[str, Any] = {"delimiter": delimiter}
    return settings | ({} if header else {"header": False}) | (
        {} if quotes else {"quotes": False}
    ), rows


def _is_by_number(named: Named) -> bool:
    given = [*named.text, named.label, named.question, *named.options]
    return any(given) and all(name.isdecimal() for name in given if name)


def _cells(file: DataFile, delimiter: str, *, quotes: bool) -> list[list[str]]:
    stream = io.StringIO(file.text(), newline="")
    try:
        rows = csv.reader(
            stream,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            strict=True,
        )
        return [row for row in rows if row]
    except csv.Error:
        return []


def _conll(files: Sequence[DataFile]) -> dict[str, Any]:
    lines = [
        (file, number, line)
        for file in files
        for number, line in file.lines()
        if line.strip(" \t") and not line.startswith("-DOCSTART-")
    ]
    separator = "tab" if lines and all("\t" in line for _, _, line in lines) else "blank"
    tags = set()
    for file, number, line in lines:
        columns = line.split("\t") if separator == "tab" else line.split()
        if len(columns) < 2 or not TAG.fullmatch(columns[-1]):
            raise file.error(
                "the last column must hold a tag, O, B-TYPE or I-TYPE, and the first the token; "
                "write other schemes (BIOES, BILOU) as these",
                number,
            )
        tags.add(columns[-1])
    bare = {"bare_type": _BARE_TYPE} if tags & {"B", "I"} else {}
    return {"name": "conll", "separator": separator, **bare}
