"""The command line: one thin sub-command per job. The only place that prints.

Heavy parts are imported inside the commands, so that ``--help`` answers at once.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from clinprompt import __version__
from clinprompt.cli import prompts, runs, tasks
from clinprompt.cli.screen import complaints, console
from clinprompt.errors import ClinpromptError

app = typer.Typer(
    help="One frozen language model, one learned metaprompt, every clinical NLP task.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
_tasks = typer.Typer(help="What tasks there are, and whether their data is whole.")
_prompts = typer.Typer(help="Saved prompts: list, inspect, check, export to PEFT.")
app.add_typer(_tasks, name="tasks", no_args_is_help=True)
app.add_typer(_prompts, name="prompts", no_args_is_help=True)
_COMMANDS: dict[typer.Typer, Sequence[Callable[..., None]]] = {
    app: (
        runs.compare,
        runs.search,
        runs.quickstart,
        runs.tune,
        runs.distill,
        runs.adapt,
        runs.evaluate,
        runs.predict,
    ),
    _tasks: (tasks.list_, tasks.show, tasks.new, tasks.check, tasks.fetch),
    _prompts: (prompts.list_, prompts.show, prompts.verify, prompts.export),
}
for _group, _commands in _COMMANDS.items():
    for _command in _commands:
        _group.command(_command.__name__.rstrip("_"))(_command)


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2.

    Being told to end (SIGTERM, or the terminal closed) cleans up as Ctrl-C does, unless whoever
    started the command has it ignore that.
    """
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    try:
        app()
    except ClinpromptError as error:
        words = f"[red]error:[/red] {escape(str(error))}"
        complaints.print(words, highlight=False, soft_wrap=True)
        sys.exit(2)


def _end(number: int, _: object) -> NoReturn:
    """Leave by an exception, so that half-written drafts, which may hold notes, are removed."""
    raise SystemExit(128 + number)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        console.print(f"clinprompt {__version__}")
        raise typer.Exit
