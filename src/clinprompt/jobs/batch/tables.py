"""Join the parts of a batch into one table: JSON Lines, CSV or Parquet. Knows no models.

CSV and Parquet have one line for each mention, link, label or text. An answer that lists nothing
and an error have one line, too.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clinprompt.files import new_file
from clinprompt.jobs.note_files import require_parquet
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS

Row = Mapping[str, Any]
_SPAN = ("type", "text", "start", "end")
_SAME = ("label", "text", "probability", "ungrounded", "unparseable", "input_was_cut", "error")
COLUMNS: dict[str, str] = {
    "line": "int64",
    "id": "string",
    "task": "string",
    "label": "string",
    "text": "string",
    "start": "int64",
    "end": "int64",
    **{
        f"{end}_{name}": "int64" if name in ("start", "end") else "string"
        for end in ("head", "tail")
        for name in _SPAN
    },
    "probability": "float64",
    "ungrounded": "int64",
    "unparseable": "string",
    "input_was_cut": "bool_",
    "error": "string",
}


def write_json_lines(path: Path, parts: Iterable[Iterable[Row]]) -> None:
    """Write all rows as they are, completely or not at all.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    with new_file(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
        for rows in parts:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_csv(path: Path, parts: Iterable[Iterable[Row]]) -> None:
    """Write a line for each annotation as CSV, completely or not at all.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    with new_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, list(COLUMNS), lineterminator="\n")
        table.writeheader()
        for rows in parts:
            table.writerows(flat for row in rows for flat in flat_rows(row))


def write_parquet(path: Path, parts: Iterable[Iterable[Row]]) -> None:
    """Write a line for each annotation as Parquet, completely or not at all.

    Raises:
        RunError: the disk is full or the folder is not writable.
        SettingError: pyarrow is not installed.
    """
    parquet = require_parquet()
    import pyarrow  # noqa: PLC0415 - an extra

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
    with new_file(path) as draft, parquet.ParquetWriter(draft, schema) as writer:
        for rows in parts:
            flat = [one for row in rows for one in flat_rows(row)]
            writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))


def flat_rows(row: Row) -> Iterator[dict[str, Any]]:
    """Yield the lines of one answer, or of one error. Values that a line lacks are left out."""
    same = {"line": row["line"], "id": row["id"]}
    same |= {"task": row["task"]} if "task" in row else {}
    same |= {name: row[name] for name in _SAME if name in row}
    if "ungrounded" in same:
        same["ungrounded"] = len(same["ungrounded"])
    mentions, links = row.get(MENTIONS.name), row.get(LINKS.name)
    if not mentions and not links:
        yield same
    for item in mentions or ():
        yield {**same, "label": item["type"], **_probability(item), **_values(item, _SPAN[1:])}
    for item in links or ():
        ends = {f"{end}_{name}": item[end][name] for end in ("head", "tail") for name in _SPAN}
        yield {**same, "label": item["type"], **_probability(item), **ends}


def _probability(item: Row) -> dict[str, Any]:
    return _values(item, ("probability",))


def _values(item: Row, names: Iterable[str]) -> dict[str, Any]:
    return {name: item[name] for name in names if name in item}
