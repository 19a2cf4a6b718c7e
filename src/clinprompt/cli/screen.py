"""What every command shares: its options, its screen, its tables, its progress."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from clinprompt.tasks.records import Example
    from clinprompt.training.progress import Reporter

console = Console()
complaints = Console(stderr=True)
_MOST_LINES = 40  # of an example's input
_LINES_OF_END = 15  # kept at either end of a longer one

Mirror = Annotated[
    Path | None,
    typer.Option(help="Folder with one folder a data set. [env: CLINPROMPT_MIRROR]"),
]
Out = Annotated[Path | None, typer.Option(help="Run folder; an unfinished run there goes on.")]
Config = Annotated[Path | None, typer.Option(help="TOML file with settings.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
AllowBackbone = Annotated[
    bool, typer.Option("--allow-backbone", help="Use a prompt on a backbone it was not trained on.")
]


@contextmanager
def reporter_of(folder: Path) -> Iterator["Reporter"]:
    """Show progress; on Ctrl-C, say how to go on."""
    from clinprompt.training.progress import Bar

    try:
        with Bar(console) as bar:
            yield bar
    except KeyboardInterrupt:
        typed = sys.argv[1:]
        named = any(word.partition("=")[0] == "--out" for word in typed)
        again = shlex.join(["clinprompt", *typed, *([] if named else ["--out", str(folder)])])
        complaints.print(
            f"stopped; what is finished is in {folder}. Go on with: {again}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


class DownloadBar:
    """A bar for the file that comes in: bytes and speed."""

    def __init__(self, screen: Console) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<44}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=screen,
            transient=True,
        )
        self._file: TaskID | None = None

    def __enter__(self) -> "DownloadBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._bar.stop()

    def begin(self, what: str, *, total: int | None, done: int) -> None:
        """Start on a file of ``total`` bytes, ``done`` of which are here."""
        if self._file is None:
            self._bar.start()  # not before: a bar that shows nothing leaves an empty line
        else:
            self._bar.remove_task(self._file)
        self._file = self._bar.add_task(what, total=total, completed=done)

    def advance(self, num_bytes: int) -> None:
        """Count bytes that came."""
        assert self._file is not None
        self._bar.update(self._file, advance=num_bytes)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(message, highlight=False, markup=False, soft_wrap=True)


def show_examples(examples: Sequence["Example"], *, whole: bool = False) -> None:
    """Print examples: what the model reads, what it should write.

    Unless ``whole``, the middle of an input of many lines is left out.
    """
    for example in examples:
        console.rule(escape(example.record.id))
        lines = [line.plain.rstrip() for line in Text(example.input).wrap(console, console.width)]
        if not whole and len(lines) > _MOST_LINES:
            left_out = (
                f"... {len(lines) - 2 * _LINES_OF_END} lines left out; --whole shows them ..."
            )
            lines = [*lines[:_LINES_OF_END], left_out, *lines[-_LINES_OF_END:]]
        console.print("\n".join(lines), style="dim", end=" ", markup=False, highlight=False)
        console.print(example.target, style="green", markup=False, highlight=False)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", note: str = ""
) -> None:
    """Print a table that folds its words where the screen is narrow."""
    columns = [Column(name, overflow="fold") for name in header]
    table = Table(
        *columns,
        title=title,
        title_justify="left",
        caption=note,
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    console.print()


def show_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows of values, as a table or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])
