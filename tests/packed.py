"""Write archives and read tasks from them, with the splits that the files have."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import Record

SECRET = "zebrafishpatient"  # stands for record text: no error may show it


def pack(path: Path, members: dict[str, str]) -> None:
    """Write an archive of texts by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def read_splits(name: str, mirror: Path) -> dict[str, tuple[Record, ...]]:
    """Read a task with the splits of its files: one or two groups are too few for new splits."""
    card = find_card(name).model_copy(update={"resplit": None})
    return dict(load_task(card, mirror).splits)


def read_all(name: str, mirror: Path) -> dict[str, Record]:
    """Read the records of every split by id."""
    splits = read_splits(name, mirror)
    return {record.id: record for split in SPLITS for record in splits[split]}


def mentions(record: Record) -> list[tuple[str, str]]:
    """Return the words and the type of each mention."""
    return [(record.text[span.start : span.end], span.type) for span in record.answer.spans]


def refusal(name: str, mirror: Path) -> str:
    """Return why a task cannot be read."""
    with pytest.raises(DataError) as caught:
        read_splits(name, mirror)
    assert SECRET not in str(caught.value)
    return str(caught.value)
