"""Describe the numbers that a publisher states and why a task has others. Knows no records."""

from collections.abc import Iterator, Mapping
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from clinprompt.settings.groups import Settings

Part = Literal["all", "train", "validation", "test"]
Counted = Literal["rows", "annotations"]
PARTS: tuple[Part, ...] = get_args(Part)
COUNTED: tuple[Counted, ...] = get_args(Counted)


class Stated(Settings):
    """The rows, annotations or both that are stated for a published split or the whole set."""

    rows: int | None = Field(default=None, ge=0)
    annotations: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _states_something(self) -> Self:
        if self.rows is None and self.annotations is None:
            raise ValueError("states neither rows nor annotations; give one")
        return self


class Difference(Settings):
    """Why some rows or annotations of a published split (``all``: of any split) are not read.

    In the list ``added``: why some are read that are not stated.
    """

    split: Part = "all"
    rows: int | None = Field(default=None, gt=0)
    annotations: int | None = Field(default=None, gt=0)
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _counts_something(self) -> Self:
        if self.rows is None and self.annotations is None:
            raise ValueError("counts neither rows nor annotations; give one")
        return self


class Balance(Settings):
    """One stated number and the number read; even if stated + added = read + left out."""

    split: Part
    kind: Counted
    stated: int
    left_out: int
    added: int
    read: int

    @property
    def is_even(self) -> bool:
        """Return whether the differences explain the number read."""
        return self.stated + self.added == self.read + self.left_out

    def __str__(self) -> str:
        """Return both numbers with their differences."""
        added = f" + {self.added} added" if self.added else ""
        return (
            f"published {self.split}: {self.stated} {self.kind} stated{added}, but {self.read} "
            f"read + {self.left_out} left out"
        )


class Published(Settings):
    """The numbers that the publisher states for a set, and why a task has other numbers.

    ``train``, ``validation`` and ``test`` are the published splits, before any ``resplit``. ``all``
    is the whole set; every difference counts for it. For a split, the differences that name it
    count.
    """

    all: Stated | None = None
    train: Stated | None = None
    validation: Stated | None = None
    test: Stated | None = None
    left_out: tuple[Difference, ...] = ()
    added: tuple[Difference, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.parts:
            raise ValueError(f"states nothing; give one of {', '.join(PARTS)}")
        for one in (*self.left_out, *self.added):
            for kind in COUNTED:
                stated = (self._stated(part, kind) for part in {one.split, "all"})
                if getattr(one, kind) and all(number is None for number in stated):
                    raise ValueError(
                        f"{getattr(one, kind)} {kind} of {one.split} differ, but no {kind} of it "
                        f"are stated; add published.{one.split}.{kind} or remove the difference"
                    )
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the splits with stated numbers; ``all`` is the whole set."""
        return tuple(part for part in PARTS if getattr(self, part))

    def balances(self, read: Mapping[Part, Mapping[Counted, int]]) -> Iterator[Balance]:
        """Yield each stated number with the number read of the same published split."""
        for part in self.parts:
            for kind in COUNTED:
                stated = self._stated(part, kind)
                if stated is not None:
                    yield Balance(
                        split=part,
                        kind=kind,
                        stated=stated,
                        left_out=_total(self.left_out, part, kind),
                        added=_total(self.added, part, kind),
                        read=read[part][kind],
                    )

    def _stated(self, part: str, kind: Counted) -> int | None:
        stated: Stated | None = getattr(self, part)
        return None if stated is None else getattr(stated, kind)


def _total(differences: tuple[Difference, ...], part: Part, kind: Counted) -> int:
    return sum(getattr(one, kind) or 0 for one in differences if part in {"all", one.split})
