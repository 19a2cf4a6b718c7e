"""Write cards.md from the code of cards, readers and metrics. Run: python docs/write_cards.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from write_settings import about, default_text

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import Files, Resplit, Source, Wording
from clinprompt.tasks.kinds.table import KINDS
from clinprompt.tasks.readers import FileReader
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.readers.generic.rows import RowShape

PAGE = Path(__file__).parent / "cards.md"
INTRO = """\
# Cards of tasks

This page is written by `python docs/write_cards.py` from `src/clinprompt/tasks/`. It lists the
fields of a `card.toml`, the metrics and the readers. [tasks.md](tasks.md#your-own-task) shows how
to make a card from your data, and an example."""
READERS = """\
## Readers

`reader.name` chooses the format of the files, and the other fields of `[reader]` say where things
are in it."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")


def page_text() -> str:
    """Return the page: the fields of a card, the metrics, and the readers."""
    parts = [INTRO, "## Fields", _fields("", TaskCard, without=("path",))]
    for name, part in (
        ("source", Source),
        ("files", Files),
        ("resplit", Resplit),
        ("wording", Wording),
    ):
        parts += [f"### `[{name}]`", about(part), _fields(f"{name}.", part)]
    parts += ["## Types, answers and metrics", _metrics(), READERS]
    readers = get_args(get_args(FileReader)[0])
    general = [one for one in readers if ".generic." in one.__module__]
    for reader in general:
        parts += [f"### `{_name(reader)}`", about(reader), *_options("", reader)]
    parts += ["### `reader.row`", about(RowShape), *_options("row.", RowShape)]
    parts += ["### `reader.view`", about(View), *_options("view.", View)]
    parts += ["### Readers of single data sets", _single([r for r in readers if r not in general])]
    return "\n\n".join(parts) + "\n"


def _fields(section: str, model: type[BaseModel], without: Sequence[str] = ()) -> str:
    rows = [
        f"| `{section}{name}` | {default_text(field)} | {field.description} |"
        for name, field in model.model_fields.items()
        if name not in without
    ]
    return "\n".join(["| field | default | meaning |", "| --- | --- | --- |", *rows])


def _options(section: str, model: type[BaseModel]) -> list[str]:
    """Return the table of a reader's options, or nothing if it has none."""
    rows = [
        f"| `{section}{name}` | {default_text(field)} |"
        for name, field in model.model_fields.items()
        if name != "name"
    ]
    return ["\n".join(["| option | default |", "| --- | --- |", *rows])] if rows else []


def _metrics() -> str:
    """Return the metrics of each kind of task; the meaning of a metric is given once."""
    rows = ["| type | answer | metric | meaning |", "| --- | --- | --- | --- |"]
    said: set[str] = set()
    for (type_, answer), kind in KINDS.items():
        for metric in kind.metrics:
            meaning = "as above" if metric.name in said else metric.meaning
            rows.append(f"| `{type_}` | `{answer}` | `{metric.name}` | {meaning} |")
            said.add(metric.name)
    return "\n".join(rows)


def _single(readers: Sequence[type[BaseModel]]) -> str:
    firsts = [" ".join(about(one).partition("\n\n")[0].split()) for one in readers]
    rows = [f"| `{_name(one)}` | {first} |" for one, first in zip(readers, firsts, strict=True)]
    return "\n".join(["| reader | what it does |", "| --- | --- |", *rows])


def _name(reader: type[BaseModel]) -> str:
    return str(get_args(reader.model_fields["name"].annotation)[0])


if __name__ == "__main__":
    main()
