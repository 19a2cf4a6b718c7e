"""Make a task folder from a user's own data: a card to edit, and a copy of the files.

``Draft.found`` lists everything that was guessed. Knows no models and never changes the user's
data.
"""

import re
import shutil
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pydantic import TypeAdapter

from clinprompt.errors import DataError, SettingError, option
from clinprompt.files import new_folder, write_text
from clinprompt.settings.groups import NAME_PATTERN
from clinprompt.tasks.audit.inside_words import inside_words
from clinprompt.tasks.card import AnswerKind, TaskCard, TaskType, catalog
from clinprompt.tasks.card_parts import SPLITS, Split
from clinprompt.tasks.draft.card_text import CardContents, label_names, toml_value, write_card
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.draft.detect_reader import detect_reader
from clinprompt.tasks.draft.made_splits import (
    FEW_TEST,
    how_to_change,
    make_splits,
    more_test_records,
)
from clinprompt.tasks.draft.own_files import OwnFiles, find_own_files, open_own_files
from clinprompt.tasks.kinds import KINDS, TASK_TYPES, kind_of, make_example
from clinprompt.tasks.load import Splits, TaskData, load_task, whole_text
from clinprompt.tasks.readers import FileReader
from clinprompt.tasks.readers.generic.data_files import know_namesakes
from clinprompt.tasks.readers.notes import reading_notes
from clinprompt.tasks.records import Example, Record

_CLASSIFICATION = "classification"  # of single texts; cards call it nli
_KINDS = (*TASK_TYPES, _CLASSIFICATION)
_TWO_TEXTS = "nli with two --text (in Python: text=[FIRST, SECOND])"
_NUM_EXAMPLES = 3  # that a draft shows
_OTHER_WORDS = {
    ("text-classification", "labels", "label"): _CLASSIFICATION,
    ("pair-classification", "entailment", "similarity"): _TWO_TEXTS,
    ("entities", "spans", "token-classification", "extraction"): "ner",
    ("relations", "relation-extraction"): "re",
    ("question-answering", "multiple-choice"): "qa",
    ("summary", "summarisation", "generation"): "summarization",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete task that is not yet written; ``found`` says what was guessed, one line each."""

    card_text: str
    data: TaskData
    files: OwnFiles
    found: tuple[str, ...]

    @property
    def examples(self) -> tuple[Example, ...]:
        """Return a few training examples, beginning with those whose answer is not empty."""
        card = self.data.card
        records = sorted(self.data.splits["train"], key=lambda record: _is_empty(card, record))
        return tuple(make_example(card, record) for record in records[:_NUM_EXAMPLES])


def task_type(word: str) -> TaskType:
    """Return the task type with that name; classification is a name for nli.

    Raises:
        SettingError: there is none.
    """
    if word not in _KINDS:
        raise SettingError(f"no task type {word!r}; {_use_instead(word)}")
    return "nli" if word == _CLASSIFICATION else word


def _use_instead(word: str) -> str:
    """Return which type to use for a word that other tools use, or the known types."""
    for words, hint in _OTHER_WORDS.items():
        if word.lower().replace("_", "-") in words:
            return f"use {hint}; all types: {', '.join(_KINDS)}"
    return f"known: {', '.join(_KINDS)}"


def draft_task(
    kind: str,
    path: Path,
    name: str = "",
    named: NamedColumns | None = None,
    *,
    test_share: float | None = None,
) -> Draft:
    """Make a task of the file or folder at ``path``, with a card that was checked by loading it.

    Args:
        kind: the type of task, or classification, which is type nli with one text.
        path: the user's data.
        name: the task's name; by default it is made from ``path``.
        named: the columns that the user names; others are guessed.
        test_share: the share of the records to move to a test split that has no file; None: it
            depends on their number.

    Raises:
        SettingError: the kind, the name, a column or the share cannot be used.
        DataError: the data cannot be read, or the meaning of its columns cannot be guessed.
    """
    type_, name = task_type(kind), task_name(path, name)
    named = replace(named or NamedColumns(), is_one_text=kind == _CLASSIFICATION)
    own = find_own_files(path, type_)
    detected = detect_reader(path, own, type_, named)
    reader: FileReader = TypeAdapter(FileReader).validate_python(detected.reader)
    splits, labels_in = _read(own, reader), KINDS[type_, detected.answer].labels_in
    labels = sorted(
        {
            label
            for record in chain.from_iterable(splits.values())
            if record.answer is not None
            for label in labels_in(record.answer)
        }
    )
    _check_labels(path, detected.answer, labels)
    contents = CardContents(
        name=name,
        type=type_,
        answer=detected.answer,
        reader=detected.reader,
        fields=detected.fields,
        files={split: own.addresses(split) for split in SPLITS if own.files.get(split)},
        labels=() if detected.answer == "choice" else tuple(labels),
        resplit=make_splits(path, own, splits, test_share),
    )
    text = write_card(contents)
    card = TaskCard.model_validate({**tomllib.loads(text), "path": own.root / "card.toml"})
    data = load_task(card, None)
    every = [file for split in SPLITS for file in open_own_files(own, split)]
    records = chain.from_iterable(data.splits.values())
    notes = (*detected.notes, *reading_notes(reader, every), *inside_words(records))
    found = (
        *_findings(contents, data, own),
        *notes,
        *_equal_texts(data),
        *_gaps(contents, data),
        *_nothing_to_list(data),
    )
    return Draft(text, data, own, found)


def task_name(path: Path, name: str = "") -> str:
    """Return the task's name: the given one, or one made from the path of the data.

    Raises:
        SettingError: it is not a valid name, or a task of the catalog has it.
    """
    name = name or _name_of(path)
    if not re.fullmatch(NAME_PATTERN, name):
        raise SettingError(
            f"{name!r} cannot be a task's name; give another with {option('name')} that "
            "begins with a letter or digit and has letters, digits, '.', '_' and '-'"
        )
    if name in catalog():
        raise SettingError(f"{name!r} is a task of the catalog; give another {option('name')}")
    return name


def choose_folder(path: Path, *, out: Path | None = None, name: str = "") -> Path:
    """Return the folder to create: ``out``, else the name, or NAME-task if the data has that name.

    Raises:
        SettingError: it would be inside the data and would be read as data the next time.
    """
    plain = name or _name_of(path)
    is_taken = bool(plain) and Path(plain).resolve() == path.resolve()
    folder = out or Path(f"{plain}-task" if is_taken else plain)
    if path.is_dir() and path.resolve() in folder.resolve().parents:
        raise SettingError(
            f"{folder}: is inside the data and would be read as data the next time; give another "
            f"{option('out', argument='folder')}, such as {path.resolve().parent / f'{plain}-task'}"
        )
    return folder


def _name_of(path: Path) -> str:
    return re.sub(r"[^\w.-]+", "-", path.resolve().stem).strip("-._")


def write_task(draft: Draft, folder: Path) -> None:
    """Write the task's folder completely or not at all.

    Raises:
        SettingError: the folder exists.
        RunError: the folder cannot be written.
    """
    if folder.exists():
        raise SettingError(
            f"{folder}: already exists; give another {option('out', argument='folder')}"
        )
    with new_folder(folder) as place:
        for name in draft.files.copied():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(draft.files.root / name, target)
            for part in (Path(name), *Path(name).parents):
                _keep_private(place / part, draft.files.root / part)
        write_text(place / "card.toml", draft.card_text)


def _keep_private(copy: Path, original: Path) -> None:
    """Remove permissions from a copy that the original does not give."""
    allowed = original.stat().st_mode | stat.S_IRWXU
    copy.chmod(copy.stat().st_mode & allowed)


def _read(own: OwnFiles, reader: FileReader) -> Splits:
    read: dict[Split, tuple[Record, ...]] = {}
    opened = know_namesakes({split: tuple(open_own_files(own, split)) for split in SPLITS})
    for split, files in opened.items():
        read[split] = tuple(record for file in files for record in reader.read(file))
        if files and not read[split]:
            raise files[0].error(f"holds no records for {split}; add some, or remove the file")
    return read


def _check_labels(place: Path, answer: AnswerKind, labels: Sequence[str]) -> None:
    if answer in ("spans", "relations") and not labels:
        raise DataError(f"{place}: holds no {answer}; add records that have some")
    if answer == "label" and len(labels) < 2:
        raise DataError(f"{place}: every record has the same label; add records with another one")


def _findings(contents: CardContents, data: TaskData, own: OwnFiles) -> Iterator[str]:
    reader = {key: value for key, value in contents.reader.items() if key not in ("name", "row")}
    settings = (f", {key} = {toml_value(value)}" for key, value in reader.items())
    yield f"reader: {contents.reader['name']}{''.join(settings)}"
    for role, name in contents.reader.get("row", {}).items():
        for part, column in name.items() if isinstance(name, Mapping) else [(role, name)]:
            named = [column] if isinstance(column, str) else column
            shown = f"{'column' if len(named) == 1 else 'columns'} {', '.join(named)}"
            yield f"{'answer' if role == 'text' else part}: {shown}"
    made, total = contents.resplit, sum(map(len, data.splits.values()))
    for split in SPLITS:
        is_made = made is not None and not contents.files.get(split)
        files = "moved out of train" if is_made else own.shown(split)
        yield f"{split}: {len(data.splits[split])} of {total} records, {files}"
    if made:
        yield how_to_change(made)
    for label, word in label_names(contents.labels).items():
        yield f"label {label}: {word}"
    yield from _odd_labels(contents.labels, data)


def _odd_labels(labels: Sequence[str], data: TaskData) -> Iterator[str]:
    """Yield what may be mistakes: labels of one record, and those that differ only in case."""
    kind = kind_of(data.card)
    records = chain.from_iterable(data.splits.values())
    answers = (record.answer for record in records if record.answer is not None)
    counts = Counter(label for answer in answers for label in set(kind.labels_in(answer)))
    for label in labels:
        if counts[label] == 1:
            yield f"label {label}: in only one record, so some splits have none; is it a mistake?"
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(label.casefold(), []).append(label)
    for own in alike.values():
        if len(own) > 1:
            yield (
                f"labels {' and '.join(own)}: differ only in case; if they mean the same, make "
                "them one in the data, else give each a word of its own in the card"
            )


def _equal_texts(data: TaskData) -> Iterator[str]:
    """Yield a line on records with the same text, if there are any: whether splits share some."""
    places: dict[str, list[Split]] = {}
    for split, records in data.splits.items():
        for record in records:
            places.setdefault("\n".join((whole_text(record), *record.options)), []).append(split)
    equal = [own for own in places.values() if len(own) > 1]
    if not equal:
        return
    start = f"equal texts: {sum(map(len, equal))} of {sum(map(len, places.values()))} records have"
    if spread := sum(len(own) for own in equal if len(set(own)) > 1):
        yield (
            f"{start} the text of another, {spread} of them in more than one split; training "
            "leaves out records with the text of a test record"
        )
    else:
        yield f"{start} the text of another; records of one text are in one split"


def _gaps(contents: CardContents, data: TaskData) -> Iterator[str]:
    """Yield a line for each kind of empty value: texts, answers, a split without annotation."""
    for split, records in data.splits.items():
        empty = sum(_is_empty(data.card, record) for record in records)
        if split == "test" and len(records) == 1:
            yield "test: only one record; a score on it has no meaning, so add more"
        elif split == "test" and len(records) < FEW_TEST:
            yield from more_test_records(contents.resplit, data)
        if empty == len(records):
            yield (
                f"{split}: none of its {len(records)} records has an answer; if it was not "
                "annotated, remove it: otherwise an empty answer counts as the right one"
            )
        elif empty:
            yield f"{split}: {empty} of {len(records)} records have an empty answer; they are kept"
    every = list(chain.from_iterable(data.splits.values()))
    for name in contents.fields:
        if blank := sum(not record.fields[name].strip() for record in every):
            yield (
                f"{name}: blank in {blank} of {len(every)} records, which are kept; remove them "
                "from the data if nothing can be learned from them"
            )


def _nothing_to_list(data: TaskData) -> Iterator[str]:
    """Yield a line on the records whose answer lists nothing, if there are some."""
    every = list(chain.from_iterable(data.splits.values()))
    empty = sum(_is_empty(data.card, record) for record in every)
    if 0 < empty < len(every) and kind_of(data.card).listing is not None:
        share = f"--set data.nothing_share={empty / len(every):.2g}"
        yield (
            f"nothing to list: in {empty} of {len(every)} records; if new texts are like them, "
            f"adapt with {share}, and as many answers list nothing"
        )


def _is_empty(card: TaskCard, record: Record) -> bool:
    return record.answer is not None and record.answer == kind_of(card).empty
