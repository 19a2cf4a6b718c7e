"""Look into data files to tell how they are to be read. Knows usual names, writes nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from clinprompt.errors import SettingError
from clinprompt.tasks.card import SPLITS, TASK_TYPES, AnswerKind, TaskType
from clinprompt.tasks.draft.columns import Columns, Named, Row, repeated, tell_columns
from clinprompt.tasks.draft.own_files import Kind, Origin, open_origin
from clinprompt.tasks.draft.table_layout import tell_table
from clinprompt.tasks.readers.generic.brat import count_held
from clinprompt.tasks.readers.generic.conll import TAG
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import parse_object

_TYPES: Mapping[Kind, tuple[TaskType, ...]] = {
    "brat": ("ner", "re"),
    "conll": ("ner",),
    "table": ("re", "qa", "nli", "summarization"),
    "jsonl": TASK_TYPES,
}
_SHOWN = {"brat": "brat", "conll": "CoNLL", "table": "tables", "jsonl": "JSON Lines"}
_BARE_TYPE = "ENTITY"


@dataclass(frozen=True, slots=True)
class Told:
    """What a look into files tells: the reader's settings, the kind of answer, the fields.

    ``notes`` say what was guessed, and what is read otherwise than it stands there.
    """

    reader: Mapping[str, Any]
    answer: AnswerKind
    fields: tuple[str, ...]
    notes: tuple[str, ...] = ()


def look(place: Path, origin: Origin, type_: TaskType, named: Named) -> Told:
    """Tell from the files what a card needs to say of them; ``place`` is for errors.

    Raises:
        SettingError: the format makes no task of that type, or a named column is not there.
        DataError: a file cannot be read, or it cannot be told what is what.
    """
    _check_kind(place, origin.kind, type_, named)
    files = {split: tuple(open_origin(origin, split)) for split in SPLITS}
    every = tuple(chain.from_iterable(files.values()))
    match origin.kind:
        case "brat":
            return _brat(every, origin, "relations" if type_ == "re" else "spans")
        case "conll":
            return Told(_conll(every), "spans", ("text",))
        case "jsonl":
            rows = {
                split: tuple(chain.from_iterable(map(_objects, files[split]))) for split in files
            }
            return _of_columns({"name": "jsonl"}, tell_columns(type_, rows, named, str(place)))
        case "table":
            table = tell_table(every, named)
            own = iter(table.rows)
            rows = {
                split: tuple(chain.from_iterable(islice(own, len(files[split])))) for split in files
            }
            columns = tell_columns(type_, rows, table.named, str(place))
            return _of_columns({"name": "table", **table.settings}, columns, table.notes)


def _check_kind(place: Path, kind: Kind, type_: TaskType, named: Named) -> None:
    if type_ not in _TYPES[kind]:
        others = " or ".join(_SHOWN[other] for other in _TYPES if type_ in _TYPES[other])
        raise SettingError(
            f"{place}: {_SHOWN[kind]} cannot hold a task of type {type_}; give {others}"
        )
    if named != Named() and kind in ("brat", "conll"):
        raise SettingError(f"{place}: {_SHOWN[kind]} has no columns to name; name none")


def _brat(files: Sequence[DataFile], origin: Origin, answer: AnswerKind) -> Told:
    notes = []
    counts = [count_held(file) for file in files]
    mentions = sum(held.mentions for held in counts)
    if parted := sum(held.parted for held in counts):
        notes.append(
            f"pieces: {parted} of {mentions} mentions have words between their pieces; each is "
            "read as one stretch from its first piece to its last, these words included"
        )
    notes += repeated(sum(held.repeated for held in counts), mentions)
    if unread := sum((held.unread for held in counts), Counter[str]()):
        shown = " and ".join(f"{number} {what}" for what, number in sorted(unread.items()))
        notes.append(f"not read: {shown}")
    if left := origin.unannotated:
        notes.append(
            f"left out: {len(left)} of {len(left) + len(files)} texts, such as {left[0]}, as no "
            ".ann lies beside them; a note that was read and has no mention needs an empty one"
        )
    view = "entities" if answer == "spans" else "relations"
    reader = {"name": "brat", "view": {"answer": view}}
    return Told(reader, answer, ("text",), tuple(notes))


def _of_columns(reader: Mapping[str, Any], columns: Columns, notes: Sequence[str] = ()) -> Told:
    settings = {**reader, "row": columns.row}
    if columns.spans:
        settings["spans"] = columns.spans
    fields = tuple(columns.row["fields"])
    return Told(settings, columns.answer, fields, (*notes, *columns.notes))


def _objects(file: DataFile) -> Iterator[Row]:
    for number, line in file.lines():
        if line.strip():
            yield parse_object(file, line, number)


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
