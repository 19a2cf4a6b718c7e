"""The command line: one thin command for each job. The only package that prints.

Commands import what is slow to load inside their functions, so that ``--help`` answers at once.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from clinprompt.cli import audit, harness, predict, prompts, runs, serve, tasks
from clinprompt.cli.screen import complaints, console, say
from clinprompt.errors import ClinpromptError, place_of, trace_of
from clinprompt.version import __version__

TRACEBACK = "CLINPROMPT_TRACEBACK"  # show the message of an error of ours
app = typer.Typer(
    help="One frozen language model, one learned metaprompt, every clinical NLP task.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
_tasks = typer.Typer(help="List, show, make, check and download tasks.")
_prompts = typer.Typer(help="List, show, verify and export saved prompts.")
app.add_typer(_tasks, name="tasks", no_args_is_help=True)
app.add_typer(_prompts, name="prompts", no_args_is_help=True)
_COMMANDS: dict[typer.Typer, Sequence[Callable[..., None]]] = {
    app: (
        runs.compare,
        runs.search,
        runs.report,
        runs.quickstart,
        runs.tune,
        runs.distill,
        runs.adapt,
        runs.evaluate,
        audit.audit,
        predict.predict,
        serve.serve,
    ),
    _tasks: (tasks.list_, tasks.show, tasks.new, tasks.check, tasks.fetch),
    _prompts: (prompts.list_, prompts.show, prompts.verify, prompts.export, harness.lm_eval_task),
}
for _group, _commands in _COMMANDS.items():
    for _command in _commands:
        _group.command(_command.__name__.rstrip("_"))(_command)
# Its options go to another program, which also explains them.
app.command(
    "lm_eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(harness.lm_eval)


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2.

    A mistake of ours ends with exit code 1, and shows no text of a record.

    SIGTERM and SIGHUP (the terminal was closed) clean up as Ctrl-C does, unless the process that
    started the command made it ignore them.
    """
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)
    try:
        app()
    except ClinpromptError as error:
        words = f"[red]error:[/red] {escape(str(error))}"
        complaints.print(words, highlight=False, soft_wrap=True)
        sys.exit(2)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        _print_failure(error)
        sys.exit(1)


def _print_failure(error: Exception) -> None:
    """Print where clinprompt failed, without the message of the error.

    The message of an error that is not one of ours may hold text of a record.
    """
    say(trace_of(error), screen=complaints)
    say(
        f"error: clinprompt failed: {place_of(error)}. The message is left out, as it may hold "
        "text of a record. Please report this with the lines above. To see the message, set "
        f"{TRACEBACK}=1 and run the same command again.",
        screen=complaints,
    )


def _exit(number: int, _: object) -> NoReturn:
    """Exit by an exception, so that half-written drafts, which may hold notes, are removed."""
    raise SystemExit(128 + number)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        console.print(f"clinprompt {__version__}")
        raise typer.Exit
