"""Load a task's records from its card and files, and check them. Knows no wording, no models."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from clinprompt.errors import DataError, SettingError, did_you_mean, number_of
from clinprompt.tasks.card import TaskCard, catalog
from clinprompt.tasks.card_parts import SPLITS, Resplit, Split
from clinprompt.tasks.fetch.checksums import checksum
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.kinds.density import answer_density
from clinprompt.tasks.kinds.link_ends import link_ends
from clinprompt.tasks.kinds.mention_rules import have_overlap, have_symbols
from clinprompt.tasks.readers import PracticeReader
from clinprompt.tasks.readers.generic.data_files import (
    DataFile,
    check_inside,
    know_namesakes,
    open_files,
)
from clinprompt.tasks.readers.notes import reading_notes
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    RelationsAnswer,
    SpansAnswer,
    one_line,
)

_MIRROR_HINT = "set --mirror DIR or CLINPROMPT_MIRROR to the folder that holds the data sets"

Splits = Mapping[Split, tuple[Record, ...]]


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its records. ``splits`` has all three splits; those without records are empty.

    The parts of ``card`` in ``FOUND_IN_RECORDS`` are set if the task's kind has them, from the card
    file or as found in the training records. ``copies`` counts the training records that were left
    out because their text is that of a test record.
    """

    card: TaskCard
    splits: Splits
    copies: int = 0


def load_task(card: TaskCard, mirror: Path | None, *, verify_checksums: bool = True) -> TaskData:
    """Load every split of a task, from ``mirror`` or, for a user's task, from the card's folder.

    Raises:
        SettingError: the task needs a mirror and none is set.
        DataError: a file is missing, damaged or has another checksum, or a record does not fit the
            card.
    """
    if isinstance(card.reader, PracticeReader):
        splits: Splits = {split: tuple(_draw(card, card.reader, split)) for split in SPLITS}
    else:
        folder = _folder(card, mirror)
        if verify_checksums:
            _verify(card, folder)
        splits = _read_splits(card, folder)
        if card.resplit:
            splits = move_groups(splits, card.resplit)
    for split in SPLITS:
        if not splits[split] and _is_named(card, split):
            files = ", ".join(getattr(card.files, split)) or "what card.resplit moves to it"
            raise DataError(
                f"{card.name}: split {split} is empty: no record in {files}; "
                "correct card.files or card.resplit"
            )
    return TaskData(_measured(card, splits["train"]), splits)


def check_files(card: TaskCard, mirror: Path | None) -> None:
    """Check that a task's files exist, without reading them.

    Raises:
        SettingError: the task needs a mirror and none is set.
        DataError: a file is missing.
    """
    if isinstance(card.reader, PracticeReader):
        return
    folder = _folder(card, mirror)
    for name in card.checksums:
        _check_file(card, folder / name)


def _measured(card: TaskCard, records: Sequence[Record]) -> TaskCard:
    """Return the card with what it leaves to the training records.

    These are the density of its answers, if its texts may be split into windows, the types of the
    ends of its links, and what its mentions may be.
    """
    kind = kind_of(card)
    found: dict[str, object] = {}
    if kind.listing is not None:
        found |= {"density": answer_density(card, records), "symbols": have_symbols(records)}
    if kind.answer is SpansAnswer:
        found["overlap"] = have_overlap(records)
    if kind.answer is RelationsAnswer:
        found["ends"] = link_ends(records)
    left = {name: value for name, value in found.items() if getattr(card, name) is None}
    return card.model_copy(update=left)


def move_groups(splits: Splits, resplit: Resplit) -> Splits:
    """Move whole groups out of one split, the same ones for the same seed.

    Records without a group form groups by equal text.
    """
    moved: dict[Split, list[Record]] = {split: [] for split in SPLITS}
    for record in splits[resplit.source]:
        moved[_destination(_group(record), resplit)].append(record)
    return {
        split: tuple(moved[split]) if split == resplit.source else (*splits[split], *moved[split])
        for split in SPLITS
    }


def _group(record: Record) -> str:
    return record.group or whole_text(record)


def whole_text(record: Record) -> str:
    """Return the text of all fields of a record, in which white space does not count."""
    return "\n".join(one_line(text) for text in record.fields.values())


def _destination(group: str, resplit: Resplit) -> Split:
    digest = hashlib.sha256(f"{resplit.seed}:{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < resplit.test:
        return "test"
    return "validation" if place < resplit.test + resplit.validation else resplit.source


def _folder(card: TaskCard, mirror: Path | None) -> Path:
    for name in card.checksums:
        check_inside(name, f"{card.path}: checksums")
    if card.path not in catalog().values():
        check_inside(card.folder, f"{card.path}: folder")
        return card.path.parent / card.folder
    if mirror is None:
        raise SettingError(f"{card.name}: its records are not in the package; {remedy(card)}")
    folder = mirror / card.data_folder
    missing = [name for name in card.source.paths if not (folder / name).exists()]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, needed for {card.name}; {remedy(card)}")
    if card.source.access and missing:
        names = ", ".join(missing)
        raise DataError(f"{folder}: does not have {names}, needed for {card.name}; {remedy(card)}")
    return folder


def remedy(card: TaskCard, *more: TaskCard) -> str:
    """Return how to get a task's files: fetch them, or request them if they are not public.

    The text is also about ``more`` tasks, which are all public, or all have the files of ``card``.
    """
    source = card.source
    if not source.access:
        names = " ".join(one.name for one in (card, *more))
        which = "them" if more else "it"
        return f"fetch {which} with 'clinprompt tasks fetch {names}', or {_MIRROR_HINT}"
    files = ", ".join(source.paths)
    return f"{source.access}, put {files} into {card.data_folder}/ of the mirror and {_MIRROR_HINT}"


def _verify(card: TaskCard, folder: Path) -> None:
    for name, expected in card.checksums.items():
        path = folder / name
        _check_file(card, path)
        found = checksum(path, like=expected)
        if found != expected:
            again = f"fetch it again from {card.source.repository} {card.source.commit}".rstrip()
            raise DataError(f"{path}: sha256 is {found}, but the card has {expected}; {again}")


def _check_file(card: TaskCard, path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file, needed for {card.name}; {remedy(card)}")


def _open_splits(card: TaskCard, folder: Path) -> dict[Split, tuple[DataFile, ...]]:
    """Open all files of a task; those that share a stem know it."""
    opened: dict[Split, tuple[DataFile, ...]] = {
        split: tuple(
            chain(*(open_files(folder, address) for address in getattr(card.files, split)))
        )
        for split in SPLITS
    }
    every = [file for files in opened.values() for file in files]
    names = Counter(file.name for file in every)
    if twice := next((name for name, count in names.items() if count > 1), ""):
        raise DataError(f"{card.path}: card.files names {twice} twice; name it once")
    return know_namesakes(opened)


def _read_splits(card: TaskCard, folder: Path) -> Splits:
    opened = _open_splits(card, folder)
    read = {split: tuple(_read(card, opened[split], split)) for split in SPLITS}
    counts = Counter(record.id for pairs in read.values() for _, record in pairs)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        pairs = chain.from_iterable(read.values())
        file = next(file for file, record in pairs if record.id == repeated[0])
        raise file.error(
            f"{card.name}: {number_of(len(repeated), 'record id is', 'record ids are')} not "
            "unique, the first in this file; make them unique or leave out reader.row.id"
        )
    return {split: tuple(record for _, record in pairs) for split, pairs in read.items()}


def notes_of(card: TaskCard, mirror: Path | None) -> tuple[str, ...]:
    """Return what is read differently from how it is written in a task's files, one line each.

    Raises:
        SettingError: the task needs a mirror and none is set.
        DataError: a file is missing or damaged.
    """
    if isinstance(card.reader, PracticeReader):
        return ()
    folder = _folder(card, mirror)
    notes: dict[str, None] = {}
    for split, files in _open_splits(card, folder).items():
        reader = card.readers.get(split, card.reader)
        notes |= dict.fromkeys(f"{split}: {note}" for note in reading_notes(reader, files))
    return tuple(notes)


def _draw(card: TaskCard, reader: PracticeReader, split: Split) -> Iterator[Record]:
    for record in reader.read_split(split):
        _check_record(card, record)
        yield record


def _read(
    card: TaskCard, files: Iterable[DataFile], split: Split
) -> Iterator[tuple[DataFile, Record]]:
    reader = card.readers.get(split, card.reader)
    assert not isinstance(reader, PracticeReader)
    for file in files:
        for record in without_ignored(card, reader.read(file)):
            with file.errors_at():
                _check_record(card, record)
            yield file, record


def without_ignored(card: TaskCard, records: Iterable[Record]) -> Iterator[Record]:
    """Yield records without the labels that the card ignores."""
    if not card.ignore:
        yield from records
        return
    for record in records:
        match record.answer:
            case SpansAnswer(spans):
                kept = tuple(span for span in spans if span.type not in card.ignore)
                yield replace(record, answer=SpansAnswer(kept))
            case RelationsAnswer(links):
                kept_links = tuple(link for link in links if link.type not in card.ignore)
                yield replace(record, answer=RelationsAnswer(kept_links))
            case LabelAnswer(label) if label in card.ignore:
                continue
            case _:
                yield record


def _is_named(card: TaskCard, split: Split) -> bool:
    is_made = card.resplit is not None and split in card.resplit.made
    return is_made or bool(getattr(card.files, split))


def _check_record(card: TaskCard, record: Record) -> None:
    if record.answer is None:
        return
    kind = kind_of(card)
    if not isinstance(record.answer, kind.answer):
        found = type(record.answer).__name__
        raise DataError(
            f"{card.name}: record {record.id}: the reader gives a {found}, but the card has "
            f"answer = {card.answer!r}; correct one of the two"
        )
    known = kind.labels_for(card, record)
    for label in kind.labels_in(record.answer):
        if label not in known:
            remedy = f"; give it a word in [labels], or leave it out: {_ignoring(label)}"
            raise DataError(
                f"{card.name}: record {record.id}: {_shown(label)} is not in the card; "
                f"{did_you_mean(label, known)}{remedy if kind.has_labels else ''}"
            )


def _shown(label: str) -> str:
    """Return a label for a message, or its length if it may be clinical text of a wrong column."""
    return f"label {label!r}" if _is_word(label) else f"a label of {len(label)} characters"


def _ignoring(label: str) -> str:
    """Return the line of a card that leaves out a label."""
    return f'ignore = ["{label if _is_word(label) else "LABEL"}"] at the beginning of the card'


def _is_word(label: str) -> bool:
    return len(label) <= 24 and not any(character.isspace() for character in label)


def without(data: TaskData, dropped: frozenset[str]) -> TaskData:
    """Return the task without the records of the given ids."""
    kept: Splits = {
        split: tuple(record for record in records if record.id not in dropped)
        for split, records in data.splits.items()
    }
    return replace(data, splits=kept)
