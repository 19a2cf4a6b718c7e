"""The parts of a task's card: its source, files, splits and wording. Knows no kinds of tasks."""

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from clinprompt.settings.groups import Settings
from clinprompt.tasks.records import one_line


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]  # a card may give one text alone
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Source(Settings):
    """Where the data comes from, so that the same files can be fetched again."""

    repository: str = Field(description="address of a public repository, or `own`")
    commit: str = Field(default="", description="the commit of the files")
    paths: tuple[str, ...] = Field(
        default=(),
        description="files in the repository; for data that are not public, the files and folders "
        "to put into the task's folder",
    )
    license: str = Field(description="the license of the data, in the words of its publisher")
    license_allows: Literal["any", "share-alike", "non-commercial", "unstated"] = Field(
        default="any", description="the use that the license allows"
    )
    access: str = Field(default="", description="how to request data that are not public")
    note: str = Field(default="", description="anything else that users should know")


class Wording(Settings):
    """How a record is written as the input of a model.

    In template, instruction and paraphrases, ``labels`` ("a, b, c") and ``either`` ("a, b or c")
    are the words of the labels.
    """

    version: int = Field(ge=1, description="a number to raise when the wording is changed")
    template: str = Field(
        description="a jinja template over the fields of a record and `options`, a list of "
        "(letter, text) pairs; it ends where the answer begins"
    )
    cut: Texts = Field(
        default=("text",),
        description="fields whose middle is cut if the input is too long; the template shows each "
        "of them once, as it is",
    )
    instruction: str = Field(description="what the model should do, in words")
    paraphrases: tuple[str, ...] = Field(
        default=(),
        description="the instruction in other words; in training, each record gets one of them or "
        "the instruction itself",
    )

    @property
    def instructions(self) -> tuple[str, ...]:
        """Return the instruction, then its paraphrases."""
        return (self.instruction, *self.paraphrases)

    @model_validator(mode="after")
    def _says_it_differently(self) -> Self:
        said = [one_line(text) for text in self.instructions]
        if len(set(said)) < len(said) or "" in said:
            raise ValueError("paraphrases: give instruction and paraphrases different words")
        return self


class Files(Settings):
    """The files of each split, relative to the folder of the task.

    A file may be packed as ``.gz``. ``*.ann`` is a pattern, ``notes.tar.gz!inner/*.txt`` names
    members of an archive, ``book.xlsx!train`` a sheet.
    """

    train: tuple[str, ...] = Field(default=(), description="files of the training split")
    validation: tuple[str, ...] = Field(default=(), description="files of the validation split")
    test: tuple[str, ...] = Field(default=(), description="files of the test split")


class Resplit(Settings):
    """Make missing splits: move whole groups of records, chosen by a hash of seed and group.

    Records without a group form groups by equal text.
    """

    source: Split = Field(default="train", description="the split that groups are moved out of")
    validation: float = Field(
        default=0.0, ge=0, lt=1, description="about this share of the groups becomes validation"
    )
    test: float = Field(
        default=0.0, ge=0, lt=1, description="about this share of the groups becomes test"
    )
    seed: int = Field(default=0, description="another seed makes other splits")

    @property
    def made(self) -> tuple[Split, ...]:
        """Return the splits that are made."""
        return tuple(split for split in ("validation", "test") if getattr(self, split))

    def check(self, named: Collection[str]) -> None:
        """Check that only splits without files are made, from one of the splits that are ``named``.

        Raises:
            ValueError: nothing is made, or groups move from or to a wrong split.
        """
        made = set(self.made)
        if not made or self.source not in named:
            raise ValueError(
                f"resplit needs a share to move, and files.{self.source} to move it from"
            )
        if made & set(named):
            raise ValueError(
                f"resplit makes {sorted(made & set(named))}, which already have files; remove one"
            )
        if self.validation + self.test >= 1:
            raise ValueError("resplit: validation + test must be less than 1, or nothing is left")


class Count(Settings):
    """The size of a split, as read from the files with these checksums."""

    rows: int = Field(ge=0)
    annotations: int | None = Field(default=None, ge=0)
