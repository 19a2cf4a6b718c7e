"""Detect from the content of data files how to read them. Writes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from clinprompt.errors import SettingError, number_of
from clinprompt.tasks.card import AnswerKind, TaskType
from clinprompt.tasks.card_parts import SPLITS, Split
from clinprompt.tasks.draft.column_search import Values
from clinprompt.tasks.draft.columns import NamedColumns, assign_columns, repeated
from clinprompt.tasks.draft.detected import DetectedReader, of_columns
from clinprompt.tasks.draft.label_studio_layout import detect_label_studio
from clinprompt.tasks.draft.own_files import FileKind, OwnFiles, open_own_files
from clinprompt.tasks.draft.table_layout import detect_table
from clinprompt.tasks.kinds import TASK_TYPES
from clinprompt.tasks.readers.generic.brat import count_mentions
from clinprompt.tasks.readers.generic.conll import TAG
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import load_lines

_TYPES: Mapping[FileKind, tuple[TaskType, ...]] = {
    "brat": ("ner", "re"),
    "conll": ("ner",),
    "table": ("re", "qa", "nli", "summarization"),
    "jsonl": TASK_TYPES,
    "label_studio": TASK_TYPES,
}
_SHOWN = {
    "brat": "brat",
    "conll": "CoNLL",
    "table": "tables",
    "jsonl": "JSON Lines",
    "label_studio": "an export of Label Studio",
}
_BARE_TYPE = "ENTITY"


def detect_reader(
    place: Path, own: OwnFiles, type_: TaskType, named: NamedColumns
) -> DetectedReader:
    """Detect the settings that a card needs to read the files; errors name ``place``.

    Raises:
        SettingError: the format cannot hold a task of that type, or a named column is missing.
        DataError: a file cannot be read, or the meaning of its columns cannot be guessed.
    """
    _check_kind(place, own.kind, type_, named)
    files = {split: tuple(open_own_files(own, split)) for split in SPLITS}
    every = tuple(chain.from_iterable(files.values()))
    rows: Mapping[Split, tuple[Values, ...]]
    match own.kind:
        case "brat":
            return _brat(every, own, "relations" if type_ == "re" else "spans")
        case "conll":
            return DetectedReader(_conll(every), "spans", ("text",))
        case "jsonl":
            rows = {
                split: tuple(values for file in files[split] for _, values in load_lines(file))
                for split in files
            }
            return of_columns({"name": "jsonl"}, assign_columns(type_, rows, named, str(place)))
        case "label_studio":
            return detect_label_studio(type_, files, named, str(place))
        case "table":
            table = detect_table(every, named)
            tables = iter(table.rows)
            rows = {
                split: tuple(chain.from_iterable(islice(tables, len(files[split]))))
                for split in files
            }
            columns = assign_columns(type_, rows, table.named, str(place))
            return of_columns({"name": "table", **table.settings}, columns, table.notes)


def _check_kind(place: Path, kind: FileKind, type_: TaskType, named: NamedColumns) -> None:
    if type_ not in _TYPES[kind]:
        others = " or ".join(_SHOWN[other] for other in _TYPES if type_ in _TYPES[other])
        raise SettingError(
            f"{place}: {_SHOWN[kind]} cannot hold a task of type {type_}; give {others}"
        )
    if named != NamedColumns() and kind in ("brat", "conll"):
        raise SettingError(
            f"{place}: {_SHOWN[kind]} has no columns; leave out those of text, label, question and "
            "options"
        )


def _brat(files: Sequence[DataFile], own: OwnFiles, answer: AnswerKind) -> DetectedReader:
    notes = []
    counts = [count_mentions(file) for file in files]
    mentions = sum(count.mentions for count in counts)
    if fragmented := sum(count.fragmented for count in counts):
        notes.append(
            f"fragments: {fragmented} of {mentions} mentions have words between their fragments; "
            "each is read as one span from its first fragment to its last, including these words"
        )
    notes += repeated(sum(count.repeated for count in counts), mentions)
    if unread := sum((count.unread for count in counts), Counter[str]()):
        shown = " and ".join(f"{number} {what}" for what, number in sorted(unread.items()))
        notes.append(f"not read: {shown}")
    if answer == "spans" and (links := sum(count.links for count in counts)):
        number = number_of(links, "relation or event", "relations and events")
        notes.append(f"not read: {number}, which are for a task of type re")
    if left := own.unannotated:
        notes.append(
            f"left out: {len(left)} of {len(left) + len(files)} texts, such as {left[0]}, because "
            "they have no .ann file; an annotated note without mentions needs an empty one"
        )
    view = "entities" if answer == "spans" else "relations"
    reader = {"name": "brat", "view": {"answer": view}}
    return DetectedReader(reader, answer, ("text",), tuple(notes))


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
                "the first column must be the token and the last its tag, O, B-TYPE or I-TYPE (or "
                "E-, S-, L- and U-TYPE of BIOES and BILOU); convert other schemes to these",
                number,
            )
        tags.add(columns[-1])
    bare = {"bare_type": _BARE_TYPE} if tags & set("BIESLU") else {}
    return {"name": "conll", "separator": separator, **bare}
