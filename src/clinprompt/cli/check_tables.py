"""Print what a check of tasks found, as tables that fit a screen of 80 columns."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from clinprompt.cli.screen import print_table, say
from clinprompt.errors import number_of

_NONE = "-"  # in a cell that does not apply to a task
Row = dict[str, Any]
Section = Sequence[Sequence[str]]


def show_check(rows: Sequence[Row], absent: Sequence[Row] = ()) -> None:
    """Print counts, differences from published numbers, losses in text form, and lengths.

    ``rows`` hold one row for each task; those of ``absent`` tasks have only name and type.
    """
    _show_counts(_by_type([*rows, *absent]))
    for row in rows:
        if row["copies"]:
            left = number_of(row["copies"], "training row is", "training rows are")
            say(f"{row['task']}: {left} left out, with the text of a test row.\n")
    _show_published(rows)
    _show_survival(rows)
    _show_lengths(_by_type(rows))
    for row in rows:
        for note in row.get("notes", ()):
            say(f"{row['task']}: {note}")


def _by_type(rows: Sequence[Row]) -> list[list[Row]]:
    return [[*own] for _, own in groupby(sorted(rows, key=_type), key=_type)]


def _type(row: Row) -> str:
    return str(row["type"])


def _show_counts(sections: Sequence[Sequence[Row]]) -> None:
    has_overlap = any(row.get("dropped") is not None for own in sections for row in own)
    header = ["train", "valid.", "test", "annotations", *(["dropped"] if has_overlap else [])]
    note = (
        "train, valid., test: rows of each split. annotations: their mentions or links, or rows "
        "with an answer that counts, of train/valid./test."
    )
    if has_overlap:
        note += f" dropped: rows of a source that share text with a target ({_NONE}: no source)."
    cells = [[_counts(row, has_overlap=has_overlap) for row in own] for own in sections]
    _show("Rows and annotations", header, cells, note=note)


def _counts(row: Row, *, has_overlap: bool) -> list[str]:
    if "rows" not in row:
        return [row["task"], "no data", *([""] * (4 if has_overlap else 3))]
    return [
        row["task"],
        *_numbers(row["rows"].values()),
        "/".join(map(str, row["annotations"].values())),
        *([_number(row["dropped"])] if has_overlap else []),
    ]


def _show_published(rows: Sequence[Row]) -> None:
    stated = [row for row in rows if row["published"]]
    if not stated:
        return
    cells = [
        ["" if place else row["task"], split, amount, reason]
        for row in stated
        for place, (split, amount, reason) in enumerate(_differences(row))
    ]
    even = sum(all(one["is_even"] for one in row["published"]) for row in stated)
    say(f"Published numbers are accounted for in {even} of {number_of(len(stated), 'task')}.\n")
    header = ["split", "difference", "reason"]
    _show("Differences from the published numbers", header, [cells], num_texts=3)


def _differences(row: Row) -> Iterator[tuple[str, str, str]]:
    for sign, name in (("-", "left_out"), ("+", "added")):
        for one in row[name]:
            yield one["split"], sign + _amount(one), one["reason"]


def _amount(one: Row) -> str:
    return ", ".join(
        f"{one[kind]:,} {kind[: None if one[kind] > 1 else -1]}"
        for kind in ("rows", "annotations")
        if kind in one
    )


def _show_survival(rows: Sequence[Row]) -> None:
    listed = [row for row in rows if row["survive"]["annotations"] is not None]
    has_links = any(row["tokens"]["links"] is not None for row in listed)
    cells = [
        [
            row["task"],
            _percent(row["survive"]["rows"]),
            _percent(row["survive"]["annotations"]),
            *(_links(row["tokens"]) if has_links else []),
        ]
        for row in listed
    ]
    header = ["rows", "annotations", *(["train links", "lost to windows"] if has_links else [])]
    note = "rows, annotations: share that is the same after it is written as text and read again."
    if has_links:
        note += (
            " lost to windows: links whose ends no window of a long text has both "
            f"({_NONE}: no links)."
        )
    what = "Mentions and links" if has_links else "Mentions"
    _show(f"{what} that survive the conversion to text", header, [cells], note=note)


def _links(tokens: Row) -> list[str]:
    return [_number(tokens["links"]), _number(tokens["lost_links"])]


def _show_lengths(sections: Sequence[Sequence[Row]]) -> None:
    header = ["inputs", "95%", "max", "answers", "95%", "max", "fit"]
    cells = [
        [
            [
                row["task"],
                *_numbers(row["tokens"]["inputs"].values()),
                *_numbers(row["tokens"]["answers"].values()),
                _percent(row["tokens"]["fitting"]),
            ]
            for row in own
        ]
        for own in sections
    ]
    note = "fit: answers of at most data.max_target_tokens tokens; others are not trained on."
    title = "Tokens of inputs and answers (median, 95%, max); answers that fit"
    _show(title, header, cells, note=note)


def _show(
    title: str,
    header: Sequence[str],
    sections: Sequence[Section],
    *,
    num_texts: int = 0,
    note: str = "",
) -> None:
    if any(sections):
        print_table(["task", *header], *sections, title=title, num_texts=num_texts, note=note)


def _numbers(values: Iterable[int]) -> list[str]:
    return [_number(value) for value in values]


def _number(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"


def _percent(share: float) -> str:
    return f"{share:.2%}"
