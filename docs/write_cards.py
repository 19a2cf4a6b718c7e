"""Write cards.md from the code of cards, readers and metrics. Run: python docs/write_cards.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from write_settings import about, allowed_text, default_text

from clinprompt.tasks.audit.published import Difference, Stated
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import Count, Files, Resplit, Source, Wording
from clinprompt.tasks.fetch.upstream import Upstream
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
OTHER_TABLES: dict[str, type[BaseModel]] = {
    "`[counts.SPLIT]`": Count,
    "`[published.SPLIT]`, `[published.all]`": Stated,
    "`[[published.left_out]]`, `[[published.added]]`": Difference,
    "`[fetch]`, for each file": Upstream,
}
READERS = """\
## Readers

`reader.name` chooses the format of the files, and the other fields of `[reader]` say where things
are in it."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")


def page_text() -> str:
    """Return the page: the fields of a card, the metrics, and the readers."""
    parts = [INTRO, "## Fields", _fields("", TaskCard)]
    for name, part in (
        ("source", Source),
        ("files", Files),
        ("resplit", Resplit),
        ("wording", Wording),
    ):
        parts += [f"### `[{name}]`", about(part), _fields(f"{name}.", part)]
    parts += ["### Other tables", _other_tables()]
    parts += ["## Types, answers and metrics", _metrics(), READERS]
    readers = get_args(get_args(FileReader)[0])
    general = [one for one in readers if ".generic." in one.__module__]
    for reader in general:
        parts += [f"### `{_name(reader)}`", about(reader), _fields("", reader, word="option")]
    parts += ["### `reader.row`", about(RowShape), _fields("row.", RowShape, word="option")]
    parts += ["### `reader.view`", about(View), _fields("view.", View, word="option")]
    parts += ["### Readers of single data sets", _single([r for r in readers if r not in general])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fields(section: str, model: type[BaseModel], *, word: str = "field") -> str:
    """Return the table of a model's fields, without those that say nothing to authors."""
    rows = [
        f"| `{section}{name}` | {default_text(one)} | {allowed_text(one)} | {one.description} |"
        for name, one in model.model_fields.items()
        if not (one.exclude or get_args(one.annotation) == (_name(model),))
    ]
    head = [f"| {word} | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows]) if rows else ""


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


def _other_tables() -> str:
    rows = [
        f"| {table} | {', '.join(f'`{name}`' for name in model.model_fields)} | {_on_line(model)} |"
        for table, model in OTHER_TABLES.items()
    ]
    return "\n".join(["| table | fields | meaning |", "| --- | --- | --- |", *rows])


def _single(readers: Sequence[type[BaseModel]]) -> str:
    rows = []
    for one in readers:
        options = ", ".join(f"`{name}`" for name in one.model_fields if name != "name")
        rows.append(f"| `{_name(one)}` | {options} | {_on_line(one)} |")
    return "\n".join(["| reader | options | meaning |", "| --- | --- | --- |", *rows])


def _on_line(model: type[BaseModel]) -> str:
    """Return the whole docstring of a model on one line of a table."""
    return " ".join(about(model).replace("|", "\\|").split())


def _name(model: type[BaseModel]) -> str:
    """Return the name by which cards choose a reader, or nothing for another model."""
    name = model.model_fields.get("name")
    return str(next(iter(get_args(name.annotation)), "")) if name else ""


if __name__ == "__main__":
    main()
