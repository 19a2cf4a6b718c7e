"""Load a task's records from its card and files, and check them. Knows no wording, no models."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.tasks.card import SPLITS, AnswerKind, Resplit, Split, TaskCard, catalog
from clinprompt.tasks.example import (
    Answer,
    LabelAnswer,
    Record,
    RelationsAnswer,
    SpansAnswer,
    TextAnswer,
)
from clinprompt.tasks.readers import PracticeReader
from clinprompt.tasks.readers.files import open_files
from clinprompt.tasks.readers.rows import LETTERS

_MIRROR_HINT = "set --mirror DIR or CLINPROMPT_MIRROR to the folder that holds the data sets"
_KINDS: Mapping[AnswerKind, type[Answer]] = {
    "label": LabelAnswer,
    "choice": LabelAnswer,
    "text": TextAnswer,
    "spans": SpansAnswer,
    "relations": RelationsAnswer,
}

Splits = Mapping[Split, tuple[Record, ...]]


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its records. ``splits`` has all three; one that the card lacks is empty."""

    card: TaskCard
    splits: Splits


def load_task(card: TaskCard, mirror: Path | None, *, verify_checksums: bool = True) -> TaskData:
    """Load every split of a task, from ``mirror`` or, for a user's folder, from beside its card.

    Raises:
        SettingError: the task needs a mirror and none is set.
        DataError: a file is missing, damaged or not the one the card names; or a record does not
            fit the card.
    """
    if isinstance(card.reader, PracticeReader):
        splits: Splits = {split: tuple(card.reader.read_split(split)) for split in SPLITS}
    else:
        folder = _folder(card, mirror)
        if verify_checksums:
            _verify(card, folder)
        splits = {split: tuple(_read(card, folder, split)) for split in SPLITS}
        if card.resplit:
            splits = move_groups(splits, card.resplit)
    _check(card, splits)
    return TaskData(card, splits)


def move_groups(splits: Splits, resplit: Resplit) -> Splits:
    """Move whole groups out of one split, the same ones for the same seed.

    A record without a group of its own is grouped with those of the same text.
    """
    moved: dict[Split, list[Record]] = {split: [] for split in SPLITS}
    for record in splits[resplit.source]:
        moved[_destination(_group(record), resplit)].append(record)
    return {
        split: tuple(moved[split]) if split == resplit.source else (*splits[split], *moved[split])
        for split in SPLITS
    }


def _group(record: Record) -> str:
    return record.group or "\n".join(" ".join(text.split()) for text in record.fields.values())


def _destination(group: str, resplit: Resplit) -> Split:
    digest = hashlib.sha256(f"{resplit.seed}:{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < resplit.test:
        return "test"
    return "validation" if place < resplit.test + resplit.validation else resplit.source


def _folder(card: TaskCard, mirror: Path | None) -> Path:
    if card.path not in catalog().values():
        return card.path.parent / card.folder
    if mirror is None:
        raise SettingError(f"{card.name}: its records are not in the package; {_MIRROR_HINT}")
    folder = mirror / card.data_folder
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, needed for {card.name}; {_MIRROR_HINT}")
    return folder


def _verify(card: TaskCard, folder: Path) -> None:
    for name, expected in card.checksums.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: no such file, needed for {card.name}; {_MIRROR_HINT}")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            remedy = f"fetch it again from {card.source.repository} {card.source.commit}".rstrip()
            raise DataError(f"{path}: sha256 is {found}, but the card has {expected}; {remedy}")


def _read(card: TaskCard, folder: Path, split: Split) -> Iterable[Record]:
    reader = card.readers.get(split, card.reader)
    assert not isinstance(reader, PracticeReader)
    addresses: tuple[str, ...] = getattr(card.files, split)
    for address in addresses:
        for file in open_files(folder, address):
            yield from reader.read(file)


def _check(card: TaskCard, splits: Splits) -> None:
    for split in SPLITS:
        if not splits[split] and _is_named(card, split):
            raise DataError(f"{card.name}: split {split} is empty; mend card.files or card.resplit")
        for record in splits[split]:
            _check_record(card, record)
    counts = Counter(record.id for records in splits.values() for record in records)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise DataError(
            f"{card.name}: {len(repeated)} record ids stand more than once; make them unique or "
            "leave reader.row.id out"
        )


def _is_named(card: TaskCard, split: Split) -> bool:
    made = (
        {"validation": card.resplit.validation, "test": card.resplit.test} if card.resplit else {}
    )
    return bool(getattr(card.files, split) or made.get(split))


def _check_record(card: TaskCard, record: Record) -> None:
    if record.answer is None:
        return
    if not isinstance(record.answer, _KINDS[card.answer]):
        found = type(record.answer).__name__
        raise DataError(
            f"{card.name}: record {record.id}: the reader gives a {found}, but the card has "
            f"answer = {card.answer!r}; mend one of the two"
        )
    known = LETTERS[: len(record.options)] if card.answer == "choice" else card.labels
    for label in _labels(record.answer):
        if label not in tuple(known):
            raise DataError(
                f"{card.name}: record {record.id}: {_named(label)} is not in the card; "
                f"{did_you_mean(label, known)}"
            )


def _named(label: str) -> str:
    """Name a label of the data, unless it looks like text: a wrong column may hold notes."""
    is_word = len(label) <= 24 and not any(character.isspace() for character in label)
    return f"label {label!r}" if is_word else f"a label of {len(label)} characters"


def _labels(answer: Answer) -> set[str]:
    match answer:
        case LabelAnswer(label):
            return {label}
        case SpansAnswer(spans):
            return {span.type for span in spans}
        case RelationsAnswer(relations):
            return {relation.type for relation in relations}
        case _:
            return set()


def without(data: TaskData, dropped: frozenset[str]) -> TaskData:
    """Return the task without the records of the given ids."""
    kept: Splits = {
        split: tuple(record for record in records if record.id not in dropped)
        for split, records in data.splits.items()
    }
    return replace(data, splits=kept)
