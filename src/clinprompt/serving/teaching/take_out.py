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
from typing import Literal

from clinprompt.errors import SettingError
from clinprompt.serving.teaching.answer_rows import Answered, json_rows, table
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
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


def answers_file(card: TaskCard, given: Sequence[Answered], form: Form) -> Taken:
    """Return notes with their answers as a file.

    Raises:
        SettingError: brat cannot show answers of the task.
    """
    records = [one.record for one in given]
    match form:
        case "jsonl":
            rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in json_rows(card, given))
            return Taken(f"{card.name}.jsonl", _JSON_LINES, "".join(rows).encode())
        case "csv":
            return Taken(f"{card.name}.csv", "text/csv; charset=utf-8", _csv(card, given))
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


def _csv(card: TaskCard, given: Sequence[Answered]) -> bytes:
    columns, rows = table(card, given)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
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
