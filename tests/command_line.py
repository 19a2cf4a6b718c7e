"""Run the command line inside the test's own process, which is much faster than a new process."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from typer.testing import CliRunner

from clinprompt.cli import main


@dataclass(frozen=True)
class Ended:
    """What a command left behind: its exit code and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def call(
    *words: object,
    folder: Path | None = None,
    columns: int = 100,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run ``clinprompt`` with these words in a folder, on a screen of so many columns.

    It runs the program's own entry point, so that mistakes are shown as a user sees them.
    """
    typed = ["clinprompt", *map(str, words)]
    screen = {"TERM": "dumb", "COLUMNS": str(columns), "NO_COLOR": "1"}
    runner, code = CliRunner(env={**screen, **(environment or {})}), None
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder or Path.cwd()))
        stack.enter_context(mock.patch.object(sys, "argv", typed))
        stack.enter_context(_unchanged_signals())
        stdout, stderr, _ = stack.enter_context(runner.isolation())
        try:
            main()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        return Ended(int(code or 0), stdout.getvalue().decode(), stderr.getvalue().decode())


@contextlib.contextmanager
def _unchanged_signals() -> Iterator[None]:
    """Restore the signal handlers that the command line replaces."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if os.name == "posix" else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
