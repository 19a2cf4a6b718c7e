"""Make a task folder from a user's own data: a card to edit, and a copy of the files.

Everything that is guessed is told in ``Draft.found``. Knows no models, and never changes the data
that it is given.
"""

import re
import shutil
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clinprompt.errors import DataError, SettingError
from clinprompt.files import new_folder, write_text
from clinprompt.settings.groups import NAME_PATTERN
from clinprompt.tasks.card import (
    SPLITS,
    TASK_TYPES,
    AnswerKind,
    Resplit,
    Split,
    TaskCard,
    TaskType,
    catalog,
)
from clinprompt.tasks.draft.card_text import Sketch, label_names, toml_value, write_card
from clinprompt.tasks.draft.columns import Named
from clinprompt.tasks.draft.detect_reader import look
from clinprompt.tasks.draft.own_files import Origin, find_origin, open_origin
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import Splits, TaskData, load_task, move_groups
from clinprompt.tasks.readers import FileReader
from clinprompt.tasks.records import (
    Answer,
    Example,
    LabelAnswer,
    Record,
    RelationsAnswer,
    SpansAnswer,
    TextAnswer,
    spans_of,
)

_SHARE = 0.1  # of groups, for each split that has no file
_SEEDS = 100  # tried, where chance makes much of the split
_FEW = 1000  # records


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for: a task of a type, from a file or folder, under a name."""

    type: TaskType
    origin: Path
    name: str = ""
    named: Named = field(default_factory=Named)


@dataclass(frozen=True, slots=True)
class Draft:
    """A task that is whole but not yet written; ``found`` says what was guessed, a line each."""

    card_text: str
    data: TaskData
    origin: Origin
    found: tuple[str, ...]

    def examples(self, count: int) -> tuple[Example, ...]:
        """Return the first training examples, those first whose answer is not empty."""
        records = sorted(self.data.splits["train"], key=lambda record: _is_empty(record.answer))
        return tuple(make_example(self.data.card, record) for record in records[:count])


def task_type(word: str) -> TaskType:
    """Return the task type that a word names.

    Raises:
        SettingError: it names none.
    """
    for known in TASK_TYPES:
        if word == known:
            return known
    raise SettingError(f"no task type {word!r}; known: {', '.join(TASK_TYPES)}")


def draft_task(request: Request) -> Draft:
    """Look at the data and write a card for it that loads.

    Raises:
        SettingError: the name or a column cannot be used.
        DataError: the data cannot be read, or it cannot be told what is what.
    """
    name = task_name(request)
    origin = find_origin(request.origin, request.type)
    told = look(request.origin, origin, request.type, request.named)
    splits = _read(origin, told.reader)
    labels = sorted(
        {label for split in SPLITS for record in splits[split] for label in _labels(record.answer)}
    )
    _check_labels(request.origin, told.answer, labels)
    sketch = Sketch(
        name=name,
        type=request.type,
        answer=told.answer,
        reader=told.reader,
        fields=told.fields,
        files={split: origin.addresses(split) for split in SPLITS if origin.files.get(split)},
        labels=() if told.answer == "choice" else tuple(labels),
        resplit=_resplit(request.origin, origin, splits),
    )
    text = write_card(sketch)
    card = TaskCard.model_validate({**tomllib.loads(text), "path": origin.root / "card.toml"})
    data = load_task(card, None)
    return Draft(text, data, origin, (*_findings(sketch, data), *told.notes, *_gaps(sketch, data)))


def task_name(request: Request) -> str:
    """Return the task's name: the one asked for, or one made from where the data is.

    Raises:
        SettingError: it cannot be a task's name, or the catalog has it.
    """
    name = request.name or _name_of(request.origin)
    if not re.fullmatch(NAME_PATTERN, name):
        raise SettingError(
            f"{name!r} cannot be a task's name; give a --name that begins with a letter or digit "
            "and has letters, digits, '.', '_' and '-'"
        )
    if name in catalog():
        raise SettingError(f"{name!r} is a task of the catalog; give another --name")
    return name


def choose_folder(origin: Path, *, out: Path | None = None, name: str = "") -> Path:
    """Return the folder to make: ``out``, else the name, else NAME-task where the data has that.

    Raises:
        SettingError: it would lie in the data, and be read as data the next time.
    """
    plain = name or _name_of(origin)
    is_taken = bool(plain) and Path(plain).resolve() == origin.resolve()
    folder = out or Path(f"{plain}-task" if is_taken else plain)
    if origin.is_dir() and origin.resolve() in folder.resolve().parents:
        raise SettingError(
            f"{folder}: lies in the data and would be read as data the next time; give an --out "
            f"elsewhere, such as {origin.resolve().parent / f'{plain}-task'}"
        )
    return folder


def _name_of(origin: Path) -> str:
    return re.sub(r"[^\w.-]+", "-", origin.resolve().stem).strip("-._")


def write_task(draft: Draft, folder: Path) -> None:
    """Write the task's folder whole or not at all.

    Raises:
        SettingError: something is at that place.
        RunError: the place cannot be written.
    """
    if folder.exists():
        raise SettingError(f"{folder}: is there already; give another --out")
    with new_folder(folder) as place:
        for name in draft.origin.copied():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(draft.origin.root / name, target)
            for part in (Path(name), *Path(name).parents):
                _keep_private(place / part, draft.origin.root / part)
        write_text(place / "card.toml", draft.card_text)


def _keep_private(copy: Path, original: Path) -> None:
    """Let nobody read a copy who may not read the original."""
    allowed = original.stat().st_mode | stat.S_IRWXU
    copy.chmod(copy.stat().st_mode & allowed)


def _read(origin: Origin, reader: Mapping[str, Any]) -> Splits:
    opened: FileReader = TypeAdapter(FileReader).validate_python(reader)
    read: dict[Split, tuple[Record, ...]] = {}
    for split in SPLITS:
        files = tuple(open_origin(origin, split))
        read[split] = tuple(record for file in files for record in opened.read(file))
        if files and not read[split]:
            raise files[0].error(f"holds no records for {split}; give some, or take it away")
    return read


def _check_labels(place: Path, answer: AnswerKind, labels: Sequence[str]) -> None:
    if answer in ("spans", "relations") and not labels:
        raise DataError(f"{place}: holds no {answer}; a task needs some to learn from")
    if answer == "label" and len(labels) < 2:
        raise DataError(f"{place}: every record has the same label; a task needs two or more")


def _resplit(place: Path, origin: Origin, splits: Splits) -> Resplit | None:
    """Return how to make the splits that are missing, so that none is empty."""
    lacking = tuple(split for split in SPLITS if not origin.files.get(split))
    if not lacking:
        return None
    tries = [
        Resplit.model_validate(dict.fromkeys(lacking, _SHARE) | {"seed": seed})
        for seed in range(_SEEDS if len(splits["train"]) < _FEW else 1)
    ]
    best = min(tries, key=lambda resplit: _unevenness(move_groups(splits, resplit), lacking))
    if all(move_groups(splits, best).values()):
        return best
    raise DataError(
        f"{place}: {len(splits['train'])} records are too few groups to part in train, validation "
        "and test; give more, or files named train, dev and test"
    )


def _unevenness(splits: Splits, made: Sequence[Split]) -> float:
    """Return by how many records a made split misses its share, at most; an empty one is worst."""
    wanted = _SHARE * sum(map(len, splits.values()))
    if not all(splits.values()):
        return float("inf")
    return max(abs(len(splits[split]) - wanted) for split in made)


def _findings(sketch: Sketch, data: TaskData) -> Iterator[str]:
    reader = {key: value for key, value in sketch.reader.items() if key not in ("name", "row")}
    settings = (f", {key} = {toml_value(value)}" for key, value in reader.items())
    yield f"reader: {sketch.reader['name']}{''.join(settings)}"
    for role, name in sketch.reader.get("row", {}).items():
        for part, column in name.items() if isinstance(name, Mapping) else [(role, name)]:
            shown = column if isinstance(column, str) else ", ".join(column)
            yield f"{part}: column {shown}"
    made, total = sketch.resplit, sum(map(len, data.splits.values()))
    for split in SPLITS:
        is_made = made is not None and not sketch.files.get(split)
        origin = "moved out of train" if is_made else ", ".join(sketch.files[split])
        yield f"{split}: {len(data.splits[split])} of {total} records, {origin}"
    for label, word in label_names(sketch.labels).items():
        yield f"label {label}: {word}"


def _gaps(sketch: Sketch, data: TaskData) -> Iterator[str]:
    """Say what is there but empty: texts, answers, a whole split that nobody annotated."""
    for split, records in data.splits.items():
        empty = sum(_is_empty(record.answer) for record in records)
        if split == "test" and len(records) == 1:
            yield "test: one record alone; a score on it says nothing, so give more"
        if empty == len(records):
            yield (
                f"{split}: none of its {len(records)} records has an answer; was it annotated? If "
                "not, take it away: a model would learn, or be scored, that nothing is there"
            )
        elif empty:
            yield f"{split}: {empty} of {len(records)} records have no answer, and are kept so"
    every = [record for records in data.splits.values() for record in records]
    for name in sketch.fields:
        if blank := sum(not record.fields[name].strip() for record in every):
            yield (
                f"{name}: blank in {blank} of {len(every)} records, which are kept; take them out "
                "of the data if nothing can be learned from them"
            )


def _labels(answer: Answer | None) -> tuple[str, ...]:
    match answer:
        case LabelAnswer(label):
            return (label,)
        case RelationsAnswer(relations):
            return tuple(relation.type for relation in relations)
    return tuple(span.type for span in spans_of(answer))


def _is_empty(answer: Answer | None) -> bool:
    if isinstance(answer, TextAnswer):
        return not answer.text
    return isinstance(answer, SpansAnswer | RelationsAnswer) and not spans_of(answer)
