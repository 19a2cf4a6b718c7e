"""Write cards.md from the code of cards, readers and metrics. Run: python docs/write_cards.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from markdown_table import markdown_table
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
        (f"`{section}{name}`", default_text(one), allowed_text(one), one.description or "")
        for name, one in model.model_fields.items()
        if not (one.exclude or get_args(one.annotation) == (_name(model),))
    ]
    return markdown_table((word, "default", "allowed", "meaning"), rows) if rows else ""


def _metrics() -> str:
    """Return the metrics of each kind of task; the meaning of a metric is given once."""
    rows: list[tuple[str, ...]] = []
    said: set[str] = set()
    for (type_, answer), kind in KINDS.items():
        for metric in kind.metrics:
            meaning = "as above" if metric.name in said else metric.meaning
            rows.append((f"`{type_}`", f"`{answer}`", f"`{metric.name}`", meaning))
            said.add(metric.name)
    return markdown_table(("type", "answer", "metric", "meaning"), rows)


def _other_tables() -> str:
    rows = [(table, _names(model), about(model)) for table, model in OTHER_TABLES.items()]
    return markdown_table(("table", "fields", "meaning"), rows)


def _single(readers: Sequence[type[BaseModel]]) -> str:
    rows = [(f"`{_name(one)}`", _names(one), about(one)) for one in readers]
    return markdown_table(("reader", "options", "meaning"), rows)


def _names(model: type[BaseModel]) -> str:
    """Return the names of a model's fields, without the one by which cards choose it."""
    return ", ".join(f"`{name}`" for name in model.model_fields if name != "name")


def _name(model: type[BaseModel]) -> str:
    """Return the name by which cards choose a reader, or nothing for another model."""
    name = model.model_fields.get("name")
    return str(next(iter(get_args(name.annotation)), "")) if name else ""


if __name__ == "__main__":
    main()
