"""Write the card of a new task from what a person fills in, and read it back. Opens no records."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clinprompt.errors import DataError, SettingError
from clinprompt.serving.teaching.places import is_name
from clinprompt.tasks.card import TaskCard, catalog, read_card
from clinprompt.tasks.card_errors import first_problem
from clinprompt.tasks.draft.card_text import CardContents, label_names, write_card
from clinprompt.tasks.kinds import instruction_of, make_example
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.records import Record, one_line

TRAIN = "train.jsonl"
LABEL, WRITTEN = "label", "answer"  # keys of answers in train.jsonl
_INTRODUCTION = """\
# A task that was made on the page of `clinprompt serve`. The page writes train.jsonl: put records
# of your own into another file, and name it under [files], too. Look at the task with
# `clinprompt tasks show FOLDER`.
"""
_LONGEST = {"title": 200, "instruction": 4000, "labels.0": 100}
_MOST_LABELS = 40


class FieldError(SettingError):
    """Signal a value that a new task cannot have; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class TeachableKind:
    """A kind of task that can be made: its name, and type, answer and fields of its cards."""

    name: str
    title: str
    type: str
    answer: str
    fields: tuple[str, ...] = ("text",)
    least_labels: int = 0


KINDS = {
    one.name: one
    for one in (
        TeachableKind("ner", "Named entities", "ner", "spans", least_labels=1),
        TeachableKind("re", "Links between mentions", "re", "relations", least_labels=1),
        TeachableKind("classification", "One label for a text", "nli", "label", least_labels=2),
        TeachableKind(
            "nli",
            "One label for a text and a statement",
            "nli",
            "label",
            ("text", "statement"),
            least_labels=2,
        ),
        TeachableKind("summarization", "A text about a text", "summarization", "text"),
        TeachableKind("qa", "A short answer to a question", "qa", "text", ("question", "context")),
    )
}


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a person fills in. ``labels`` are their names with their words ("": made from it)."""

    name: str
    kind: str
    labels: tuple[tuple[str, str], ...] = ()
    title: str = ""
    instruction: str = ""


def kind_of_card(card: TaskCard) -> TeachableKind:
    """Return the kind of a card that this module wrote.

    Raises:
        DataError: the card reads something else than corrections.
    """
    for kind in KINDS.values():
        shape = (kind.type, kind.answer, _reader(kind))
        if (card.type, card.answer, _plain(card.reader.model_dump())) == shape:
            return kind
    raise DataError(
        f"{card.path}: does not read {TRAIN} in the form that the page writes; move this task out "
        "of the workspace, and serve its prompt from a store"
    )


def read_taught_card(path: Path) -> TaskCard:
    """Read the card of a task in a workspace.

    Raises:
        DataError: the card is damaged, or reads something else than corrections.
    """
    card = read_card(path)
    kind_of_card(card)
    if card.name != path.parent.name or TRAIN not in card.files.train:
        raise DataError(
            f"{path}: its name must be that of its folder, {path.parent.name}, and files.train "
            f"must have {TRAIN}; correct the card"
        )
    return card


def card_text(new: NewTask) -> str:
    """Return the card of a new task as TOML.

    Raises:
        FieldError: a value cannot be used; it names the field.
    """
    _check_name(new.name)
    if new.kind not in KINDS:
        raise FieldError("kind", f"is none of {', '.join(KINDS)}")
    kind = KINDS[new.kind]
    for field, text in (("title", new.title), ("instruction", new.instruction)):
        _check_text(field, text)
    _check_placeholders(new.instruction)
    words = _words(kind, new.labels)
    contents = CardContents(
        name=new.name,
        type=kind.type,
        answer=kind.answer,
        reader=_reader(kind),
        fields=kind.fields,
        files={"train": (TRAIN,)},
        labels=tuple(words),
        words=words,
        title=one_line(new.title),
        instruction=new.instruction.strip(),
        introduction=_INTRODUCTION,
    )
    text = write_card(contents)
    _check_card(kind, text)
    return text


def _check_name(name: str) -> None:
    if not is_name(name):
        raise FieldError(
            "name",
            "cannot be used; use at most 64 letters (A to Z), digits, '.', '_' and '-', no spaces, "
            "and begin with a letter or digit",
        )
    if name in catalog():
        raise FieldError("name", "is that of a public task; choose another")


def _check_text(field: str, text: str) -> None:
    longest = _LONGEST[field]
    if len(text) > longest:
        raise FieldError(field, f"has {len(text)} characters; use at most {longest}")
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise FieldError(field, "has half a character; send it whole, as UTF-8")


def _check_placeholders(instruction: str) -> None:
    """Check that an instruction has no template code but the two names of the labels."""
    left = re.sub(r"\{\{ (labels|either) \}\}", "", instruction)
    if any(mark in left for mark in ("{{", "{%", "{#")):
        raise FieldError(
            "instruction",
            "has {{, {% or {#, which begin code; only {{ labels }} and {{ either }} are known",
        )


def _words(kind: TeachableKind, labels: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the word of each label."""
    if not kind.least_labels and labels:
        raise FieldError("labels", f"have no effect on tasks of kind {kind.name}; leave them out")
    if not kind.least_labels <= len(labels) <= _MOST_LABELS:
        raise FieldError(
            "labels",
            f"are {len(labels)}; tasks of kind {kind.name} have {kind.least_labels} to "
            f"{_MOST_LABELS}",
        )
    usual = label_names([name for name, _ in labels])
    words: dict[str, str] = {}
    for number, (name, word) in enumerate(labels):
        for part, text in (("name", name), ("word", word)):
            _check_label(f"labels.{number}.{part}", text, is_needed=part == "name")
        if name in words:
            raise FieldError(f"labels.{number}.name", "is that of another label")
        chosen = one_line(word) or usual[name]
        if chosen.casefold() in {other.casefold() for other in words.values()}:
            raise FieldError(f"labels.{number}.word", "is that of another label")
        words[name] = chosen
    return words


def _check_label(field: str, text: str, *, is_needed: bool) -> None:
    longest = _LONGEST["labels.0"]
    if is_needed and not text.strip():
        raise FieldError(field, "is empty; write a name")
    if len(text) > longest or any(not one.isprintable() for one in text):
        raise FieldError(field, f"must be one line of at most {longest} characters")
    if text != text.strip() and is_needed:
        raise FieldError(field, "begins or ends with a blank")


def parse_card(text: str) -> TaskCard:
    """Return the card that a text describes.

    Raises:
        FieldError: it is not valid; the error names the first wrong field.
    """
    try:
        return TaskCard.model_validate(tomllib.loads(text))
    except ValidationError as error:
        field, _, message = first_problem(error, TaskCard).partition(": ")
        raise FieldError(field, message) from error


def _check_card(kind: TeachableKind, text: str) -> None:
    """Check that a card can be read, and a record be put into its words."""
    card, made_up = parse_card(text), Record("example", dict.fromkeys(kind.fields, "x"))
    assert instruction_of(card) == make_example(card, made_up).instruction


def _reader(kind: TeachableKind) -> dict[str, Any]:
    row: dict[str, Any] = {"id": "id", "fields": {name: name for name in kind.fields}}
    match kind.answer:
        case "spans":
            return {"name": "jsonl", "row": row, "spans": MENTIONS.name}
        case "relations":
            return {"name": "jsonl", "row": row, "links": LINKS.name}
        case "label":
            return {"name": "jsonl", "row": row | {"label": LABEL, "verbatim": True}}
    return {"name": "jsonl", "row": row | {"text": WRITTEN, "verbatim": True}}


def _plain(reader: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a reader that are not empty."""
    row = {name: value for name, value in reader.get("row", {}).items() if value}
    return {name: value for name, value in {**reader, "row": row}.items() if value}
