"""Write answers and tasks as files to take out: JSON Lines, CSV, brat, Label Studio, archives.

Knows no HTTP and runs no model.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from clinprompt.errors import SettingError
from clinprompt.jobs.batch.tables import COLUMNS, flat_rows
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import answer_to_json, kind_of
from clinprompt.tasks.kinds.brat_output import write_annotation_conf, write_brat
from clinprompt.tasks.kinds.label_studio_output import label_studio_tasks
from clinprompt.tasks.records import Record, RelationsAnswer

Form = Literal["jsonl", "csv", "brat", "label_studio"]
_JSON_LINES, _ZIP = "application/x-ndjson", "application/zip"


@dataclass(frozen=True, slots=True)
class Taken:
    """A file: its name, its media type and its content."""

    name: str
    media_type: str
    content: bytes


def answers_file(card: TaskCard, records: Sequence[Record], form: Form) -> Taken:
    """Return records with their answers as a file.

    Raises:
        SettingError: brat cannot show answers of the task.
    """
    match form:
        case "jsonl":
            rows = (json.dumps(_row(card, one), ensure_ascii=False) + "\n" for one in records)
            return Taken(f"{card.name}.jsonl", _JSON_LINES, "".join(rows).encode())
        case "csv":
            return Taken(f"{card.name}.csv", "text/csv; charset=utf-8", _csv(card, records))
        case "brat":
            return Taken(f"{card.name}-brat.zip", _ZIP, _brat(card, records))
        case "label_studio":
            text = json.dumps(label_studio_tasks(records), ensure_ascii=False, indent=1) + "\n"
            return Taken(f"{card.name}-label-studio.json", "application/json", text.encode())


def task_folder_file(task: TaughtTask) -> Taken:
    """Return the card, the training records and the log of corrections as an archive."""
    files = (task.places.card, task.places.train, task.places.log)
    named = {f"{task.name}/{path.name}": path.read_bytes() for path in files if path.is_file()}
    return Taken(f"{task.name}.zip", _ZIP, _zip(named))


def artifact_file(name: str, folder: Path) -> Taken:
    """Return the folder of a saved prompt as an archive."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return Taken(
        f"{name}-prompt.zip", _ZIP, _zip({f"{name}/{one.name}": one.read_bytes() for one in files})
    )


def _row(card: TaskCard, record: Record) -> dict[str, Any]:
    assert record.answer is not None
    return {"id": record.id, "task": card.name, **answer_to_json(card, record, record.answer)}


def _csv(card: TaskCard, records: Sequence[Record]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    table.writeheader()
    for line, record in enumerate(records, start=1):
        table.writerows(flat_rows({"line": line, **_row(card, record)}))
    return text.getvalue().encode()


def _brat(card: TaskCard, records: Sequence[Record]) -> bytes:
    if kind_of(card).listing is None:
        raise SettingError(
            f"{card.name}: its answer is {card.answer}, and brat shows mentions and links only; "
            "choose another form"
        )
    with TemporaryDirectory() as place:  # only its owner may use it
        folder = Path(place)
        write_brat(folder, records)
        are_links = kind_of(card).answer is RelationsAnswer
        write_annotation_conf(folder, records, card.labels, are_links=are_links, ends=card.ends)
        return _zip({one.name: one.read_bytes() for one in sorted(folder.iterdir())})


def _zip(files: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in dict(files).items():
            archive.writestr(name, one)
    return content.getvalue()
