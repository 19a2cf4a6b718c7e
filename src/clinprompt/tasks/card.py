"""Describe a task as data: its answer, the files of its records, its wording. Knows no models.

A card is one TOML file. The cards of the catalog are part of the package; a folder with a
``card.toml`` is a task too.
"""

import tomllib
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.settings.groups import NAME_PATTERN, Settings
from clinprompt.settings.toml_text import parse_toml
from clinprompt.tasks.audit.published import Published
from clinprompt.tasks.card_errors import first_problem
from clinprompt.tasks.card_parts import SPLITS, Count, Files, Resplit, Source, Split, Texts, Wording
from clinprompt.tasks.fetch.upstream import FromUpstream
from clinprompt.tasks.kinds.table import KINDS, answers_of, kind_of
from clinprompt.tasks.readers import FileReader, PracticeReader, Reader
from clinprompt.tasks.records import one_line

TaskType = str  # ner, re, qa, nli or summarization: a first word of a key of kinds/table.py
AnswerKind = str  # spans, relations, label, choice or text: a second word of a key
FOUND_IN_RECORDS = ("density", "ends", "overlap", "symbols")  # what a card may leave to its data


class TaskCard(Settings):
    """Everything that clinprompt knows about a task."""

    name: str = Field(pattern=NAME_PATTERN, description="letters, digits, `.`, `_` and `-`")
    type: TaskType = Field(description="what is asked for, see the table of metrics")
    answer: AnswerKind = Field(description="the form of the answer, see the table of metrics")
    title: str = Field(description="one line about the task")
    folder: str = Field(
        default="",
        description="folder of the files: of a public task in the mirror (by default its name), of "
        "your own task below the folder of the card (by default that folder)",
    )
    source: Source = Field(description="where the data comes from")
    reader: Reader = Field(description="how the files are read")
    readers: dict[Split, FileReader] = Field(
        default_factory=dict, description="another reader for the files of a split"
    )
    files: Files = Field(default=Files(), description="the files of each split; at least one")
    resplit: Resplit | None = Field(default=None, description="how missing splits are made")
    checksums: dict[str, str] = Field(
        default_factory=dict, description="the SHA-256 of each file, compared before it is read"
    )
    fetch: dict[str, FromUpstream] = Field(
        default_factory=dict,
        description="where a file in `checksums` comes from, if no path of the source ends with "
        "its name",
    )
    counts: dict[Split, Count] = Field(
        default_factory=dict,
        description="numbers that `tasks check` compares with, after `resplit` and before records "
        "are dropped",
    )
    published: Published | None = Field(
        default=None, description="numbers of the publisher, and reasons for differences"
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="each label, or type of mention or link, and its word in input and answer; "
        "needed with answer `spans`, `relations` or `label`, refused with others",
    )
    positive: Texts = Field(
        default=(), description="labels that `positive_f1` counts; needed with this metric only"
    )
    wording: Wording = Field(description="how a record is written as input")
    metric: str = Field(description="see the table of metrics")
    ignore: Texts = Field(
        default=(),
        description="labels to leave out: mentions and links with such a label, or the whole "
        "record if its answer is such a label",
    )
    setting: Literal["", "gold-entities", "end-to-end"] = Field(
        default="",
        description="needed with type `re`: whether the input gives the mentions or a marked pair",
    )
    density: float | None = Field(
        default=None,
        ge=0,
        description="characters of answer per character of text, where mentions or links are "
        "dense; it decides the size of the windows of long texts; none: measured in the records",
    )
    ends: dict[str, tuple[str, str]] | None = Field(
        default=None,
        description="types of head and tail of each type of link, which answers name; "
        '`""`: an end without a type; none: taken from the training records, if all links of a '
        "type agree there",
    )
    overlap: bool | None = Field(
        default=None,
        description="whether mentions may overlap; none: whether some in the training records do",
    )
    symbols: bool | None = Field(
        default=None,
        description="whether a mention may have neither letters nor digits; none: whether one in "
        "the training records has neither",
    )
    path: Path = Field(default=Path(), exclude=True, description="the file of the card")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not answers_of(self.type):
            known = {type_ for type_, _ in KINDS}
            is_classification = self.type == "classification"
            hint = "use nli" if is_classification else did_you_mean(self.type, known)
            raise ValueError(f"type = {self.type!r}; {hint}")
        if self.answer not in answers_of(self.type):
            taken = " or ".join(answers_of(self.type))
            raise ValueError(f"answer = {self.answer!r}, but type {self.type} takes {taken}")
        kind = kind_of(self)
        if self.metric not in kind.metric_names:
            taken = " or ".join(kind.metric_names)
            raise ValueError(f"metric = {self.metric!r}, but answer {self.answer} takes {taken}")
        if self.density is not None and kind.listing is None:
            raise ValueError(f"density has no effect with answer = {self.answer!r}; leave it out")
        if kind.has_setting != bool(self.setting):
            raise ValueError(
                "setting = 'gold-entities' or 'end-to-end' is for type re, which needs it"
            )
        return self

    @model_validator(mode="after")
    def _labels_fit_together(self) -> Self:
        kind = kind_of(self)
        if kind.has_labels and not self.labels:
            raise ValueError(
                f"labels is empty, but answer = {self.answer!r} needs a word for every label"
            )
        if self.labels and not kind.has_labels:
            raise ValueError(f"labels has no effect with answer = {self.answer!r}; leave it out")
        words = [one_line(word).casefold() for word in self.labels.values()]
        for label, word in zip(self.labels, words, strict=True):
            if not word:
                raise ValueError(f"labels: {label} has no word; give it one")
            first = list(self.labels)[words.index(word)]
            if first != label:
                raise ValueError(
                    f"labels: {first} and {label} have the same word; give each label a different "
                    "one (case and blanks aside)"
                )
        needs_positive = kind.metric(self).needs_positive
        if self.positive and not needs_positive:
            raise ValueError(
                f"positive = {list(self.positive)} is for metric positive_f1, but metric = "
                f"{self.metric!r}; leave it out"
            )
        known = set(self.labels)
        if needs_positive and not (self.positive and known.issuperset(self.positive)):
            raise ValueError(
                f"positive = {list(self.positive)} must name some of the labels {sorted(known)}"
            )
        return self

    @model_validator(mode="after")
    def _ignores_other_labels(self) -> Self:
        if self.ignore and not kind_of(self).has_labels:
            raise ValueError(f"ignore has no effect with answer = {self.answer!r}; leave it out")
        if both := sorted(set(self.ignore) & set(self.labels)):
            raise ValueError(f"ignore: {both[0]!r} has a word in labels; remove one of the two")
        return self

    @model_validator(mode="after")
    def _rules_are_those_of_mentions(self) -> Self:
        listing = kind_of(self).listing is not None
        for name, has_effect in (("overlap", self.answer == "spans"), ("symbols", listing)):
            if getattr(self, name) is not None and not has_effect:
                raise ValueError(
                    f"{name} has no effect with answer = {self.answer!r}; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _ends_are_those_of_links(self) -> Self:
        if self.ends is not None and self.answer != "relations":
            raise ValueError(f"ends has no effect with answer = {self.answer!r}; leave it out")
        if unknown := sorted(set(self.ends or ()) - set(self.labels)):
            hint = did_you_mean(unknown[0], self.labels)
            raise ValueError(f"ends: {unknown[0]!r} is no label of the card; {hint}")
        return self

    @model_validator(mode="after")
    def _splits_fit_together(self) -> Self:
        if isinstance(self.reader, PracticeReader):
            if self.resplit or self.readers or self.files != Files():
                raise ValueError("files, readers and resplit have no effect with reader practice")
            return self
        named = {split for split in SPLITS if getattr(self.files, split)}
        if not named:
            raise ValueError("files is empty; give files.train, validation or test")
        if unread := sorted(set(self.readers) - named):
            raise ValueError(f"readers.{unread[0]} has no effect, as files.{unread[0]} is empty")
        if unknown := sorted(set(self.fetch) - set(self.checksums)):
            raise ValueError(f"fetch names {unknown[0]!r}, which has no entry in checksums; add it")
        if self.resplit:
            self.resplit.check(named)
        return self

    @model_validator(mode="after")
    def _publishes_splits_with_files(self) -> Self:
        for part in self.published.parts if self.published else ():
            if part != "all" and not getattr(self.files, part):
                raise ValueError(
                    f"published.{part} has no effect, as files.{part} is empty; state the split "
                    "that its records come from, or published.all"
                )
        return self

    @property
    def data_folder(self) -> str:
        """Return the folder of the task's files, relative to the mirror."""
        return self.folder or self.name


def read_card(path: Path) -> TaskCard:
    """Read one card.

    Raises:
        DataError: the file is missing, is not TOML, or does not describe a task.
    """
    try:
        values = parse_toml(path.read_text(encoding="utf-8-sig"))
        return TaskCard.model_validate({**values, "path": path})
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such card; a task folder needs a card.toml") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as TOML: {error}") from error
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error, TaskCard)}") from error


@cache
def catalog() -> dict[str, Path]:
    """Return the path of every card in the package, by task name."""
    folder = Path(str(files("clinprompt.tasks"))) / "catalog"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_card(name: str) -> TaskCard:
    """Find a card by its catalog name, by a task folder, or by the path of a card file.

    A name in the catalog comes before a folder of that name; write ``./name`` for the folder.

    Raises:
        SettingError: no task has that name.
        DataError: the card is damaged.
    """
    if not name:
        raise SettingError(
            "the name of the task is empty; give a name of 'clinprompt tasks list' or a folder"
        )
    if name in catalog():
        return read_card(catalog()[name])
    path = Path(name)
    if path.suffix == ".toml" or path.is_dir():
        return read_card(path / "card.toml" if path.is_dir() else path)
    folders = [str(card.parent) for card in path.parent.glob("*/card.toml")]
    near = get_close_matches(str(path), [*catalog(), *folders], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise SettingError(
        f"unknown task {name!r}: {hint}"
        "'clinprompt tasks list' shows all names; your own task is a folder with a card.toml"
    )
