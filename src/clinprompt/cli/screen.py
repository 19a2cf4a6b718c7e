"""Print to the terminal: tables, examples, progress; and the options that commands share."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import indent
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from clinprompt.errors import ClinpromptError

if TYPE_CHECKING:
    from clinprompt.tasks.records import Example
    from clinprompt.training.progress import Reporter

console = Console()
complaints = Console(stderr=True)
_MINUTE = 60  # seconds
_SECONDS_BETWEEN_LINES = 5
_MAX_LINES = 40  # of an example's input
_LINES_AT_EACH_END = 15  # kept of a longer input
_INDENT = "  "
_NO_SCREEN = 1000  # columns, more than a table has

Mirror = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the data, with a folder for each data set. By default $CLINPROMPT_MIRROR "
        "or, without it, where 'tasks fetch' puts data."
    ),
]
Task = Annotated[str, typer.Argument(help="Name of a task, or a folder with a card.toml.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the run; an unfinished run in it is continued. By default a folder in "
        "runs/, named after the run or task."
    ),
]
Config = Annotated[Path | None, typer.Option(help="TOML file with the settings.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: section.key=value. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1 ...")]
Dtype = Annotated[
    str,
    typer.Option(
        help="Weights in float32 or bfloat16. auto: float32 on a CPU, elsewhere as in training."
    ),
]
TensorParallel = Annotated[
    bool,
    typer.Option(
        "--tensor-parallel", help="Divide the model over all processes that torchrun started."
    ),
]
AllowBackbone = Annotated[
    bool, typer.Option("--allow-backbone", help="Use a prompt on a backbone it was not trained on.")
]
Free = Annotated[
    bool,
    typer.Option("--free", help="Let answers list mentions and links that are not in the note."),
]


@contextmanager
def shown_progress(folder: Path, screen: Console = console) -> Iterator["Bar"]:
    """Yield a progress bar for training in a folder; on Ctrl-C, print how to continue."""
    with continued_after_stop(folder), training_bar(screen) as bar:
        yield bar


@contextmanager
def progress_of_processes(folder: Path) -> Iterator["Reporter"]:
    """Yield a progress bar as ``shown_progress`` does, for all processes that torchrun started.

    They compute together; only the first one prints. What others print are their own errors.
    """
    from clinprompt.backbone.ranks import joined, started

    if started().rank:
        with _silent(), joined():
            from clinprompt.training.progress import Silent

            yield Silent()
    else:
        with joined(), shown_progress(folder) as bar:
            yield bar


@contextmanager
def one_of_processes(*, tensor_parallel: bool) -> Iterator[None]:
    """Let all processes that torchrun started compute a block together if they divide a model.

    Only the first one prints, except for errors of others.
    """
    from clinprompt.backbone.ranks import joined, started

    if not tensor_parallel:
        yield
        return
    is_silent = started().rank > 0
    console.quiet = complaints.quiet = is_silent
    try:
        with _silent() if is_silent else nullcontext(), joined():
            yield
    finally:
        console.quiet = complaints.quiet = False


@contextmanager
def _silent() -> Iterator[None]:
    """Name this process in its errors; exit without a message if another one has ended first."""
    from clinprompt.backbone.ranks import LostProcessError, started

    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ClinpromptError as error:
        if isinstance(error, LostProcessError) or isinstance(error.__cause__, LostProcessError):
            raise typer.Exit(1) from None
        raise type(error)(f"{started().name}: {error}") from error


@contextmanager
def continued_after_stop(folder: Path, option: str = "--out") -> Iterator[None]:
    """Print on Ctrl-C how to continue a run, and exit; ``option`` names its folder."""
    try:
        yield
    except KeyboardInterrupt:
        typed = sys.argv[1:]
        named = any(word.partition("=")[0] == option for word in typed)
        again = shlex.join(["clinprompt", *typed, *([] if named else [option, str(folder)])])
        say(f"stopped; finished work is in {folder}. Continue with: {again}", screen=complaints)
        raise typer.Exit(130) from None


def training_bar(screen: Console = console) -> "Bar":
    """Return a bar that shows steps, loss, tokens per second and the time left."""
    columns = MofNCompleteColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn()
    return Bar(screen, *columns, prints_lines=True)


def score_bar() -> "Bar":
    """Return a bar that shows the answers to test records and the time left."""
    return Bar(complaints, MofNCompleteColumn(), TimeRemainingColumn(), prints_lines=True)


def download_bar(screen: Console = complaints) -> "Bar":
    """Return a bar that shows the bytes and the speed of a download."""
    return Bar(screen, DownloadColumn(), TransferSpeedColumn())


def answer_bar() -> "Bar":
    """Return a bar that shows answers and the time left."""
    return Bar(complaints, MofNCompleteColumn(), TimeRemainingColumn())


class Bar:
    """One line that shows the progress of the current phase or file; see the ``columns``.

    With ``prints_lines``, lines show the progress if the output is not a terminal.
    """

    def __init__(
        self, screen: Console, *columns: ProgressColumn, prints_lines: bool = False
    ) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<44}", markup=False),
            BarColumn(bar_width=24),
            *columns,
            console=screen,
            transient=True,
        )
        self._current: TaskID | None = None
        self._phase, self._total, self._done = "", 0, 0
        self._begun, self._done_before = 0.0, 0
        self._prints_lines, self._last_line = prints_lines, 0.0

    @property
    def is_on_terminal(self) -> bool:
        """Return whether the bar is shown, because the output is a terminal."""
        return self._bar.console.is_terminal

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._current is not None:
            self._bar.stop()

    def begin(self, what: str, *, total: int | None, done: int = 0) -> None:
        """Start a phase or file of ``total`` steps or bytes, of which ``done`` are finished."""
        if self._current is None:
            self._bar.start()  # not earlier: a bar without a phase prints an empty line
        else:
            self._bar.remove_task(self._current)
        self._current = self._bar.add_task(what, total=total, completed=done, state="")
        self._phase, self._total, self._done = what, total or 0, done
        self._begun, self._done_before = monotonic(), done
        self._last_line = self._begun

    def advance(
        self, count: int = 1, *, loss: float | None = None, tokens_per_second: float = 0.0
    ) -> None:
        """Count the bytes or answers that arrived, or one training step with its loss and speed."""
        assert self._current is not None
        state = "" if loss is None else f"loss {loss:.3f}  {tokens_per_second:.0f} tok/s"
        self._bar.update(self._current, advance=count, state=state)
        self._done += count
        if self._prints_lines and not self.is_on_terminal and self._is_tenth():
            self._print_line(state)

    def _print_line(self, state: str) -> None:
        """Print a line with the progress of a step, or of answers that take long."""
        if state:
            self.say(f"{self._phase}: step {self._done} of {self._total}, {state}{self._left()}")
        elif monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self.say(f"{self._phase}: {self._done} of {self._total} done{self._left()}")
            self._last_line = monotonic()

    def _left(self) -> str:
        """Return about how long the remaining steps take, from the speed of those so far."""
        steps, left = self._done - self._done_before, self._total - self._done
        seconds = (monotonic() - self._begun) / steps * left
        return f", about {duration(seconds)} left" if left else ""

    def _is_tenth(self) -> bool:
        """Return whether another tenth of the steps, or the last one, is finished."""
        return self._done == self._total or self._done % max(1, self._total // 10) == 0

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        say(message, screen=self._bar.console)


def duration(seconds: float) -> str:
    """Return a duration in words: seconds below a minute and a half, then minutes, then hours."""
    if seconds < 1.5 * _MINUTE:
        return f"{seconds:.0f} s"
    minutes = seconds / _MINUTE
    return f"{minutes:.0f} min" if minutes < 1.5 * _MINUTE else f"{minutes / _MINUTE:.1f} h"


def say(message: str, *, screen: Console = console, style: str = "", wraps: bool = False) -> None:
    """Print plain text, without markup and colored numbers; ``wraps`` breaks long lines."""
    screen.print(message, style=style, markup=False, highlight=False, soft_wrap=not wraps)


def show_examples(examples: Sequence["Example"], *, whole: bool = False) -> None:
    """Print what the model reads and, indented below, what it should write.

    Without ``whole``, shorten long inputs.
    """
    for example in examples:
        console.rule(escape(example.record.id))
        lines = _wrapped(example.input, console.width)
        if not whole and len(lines) > _MAX_LINES:
            num_left_out = len(lines) - 2 * _LINES_AT_EACH_END
            left_out = f"... {num_left_out} lines left out; --whole shows them ..."
            lines = [*lines[:_LINES_AT_EACH_END], left_out, *lines[-_LINES_AT_EACH_END:]]
        say("\n".join(lines), style="dim")
        answer = _wrapped(example.target or "", console.width - len(_INDENT))
        say(indent("\n".join(answer), _INDENT), style="green")


def _wrapped(text: str, width: int) -> list[str]:
    return [line.plain.rstrip() for line in Text(text).wrap(console, width)]


def print_table(
    header: Sequence[str],
    *sections: Sequence[Sequence[str]],
    title: str = "",
    note: str = "",
    num_texts: int | None = None,
) -> None:
    """Print a table, with a line between sections; long words are folded on a narrow screen.

    In a file or pipe, which has no width unless ``COLUMNS`` gives one, each row is one line. With
    ``num_texts``, all columns but the first and the last ``num_texts`` hold numbers, which are
    aligned to the right.
    """
    numbers = () if num_texts is None else range(1, len(header) - num_texts)
    table = Table(
        title=title,
        title_justify="left",
        caption=note,
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place in numbers else "left", overflow="fold")
    for rows in sections:
        for row in rows:
            table.add_row(*map(escape, row))
        table.add_section()
    has_width = console.is_terminal or "COLUMNS" in os.environ
    (console if has_width else Console(width=_NO_SCREEN)).print(table)
    console.print()


def print_json(values: object) -> None:
    """Print plain values as JSON."""
    print(json.dumps(values, indent=2, ensure_ascii=False))


def print_records(records: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print records of the same keys, as a table or as JSON."""
    if as_json:
        print_json(records)
    elif records:
        print_table(list(records[0]), [[str(v) for v in one.values()] for one in records])
