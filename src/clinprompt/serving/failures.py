"""Say where an unexpected error was raised. Its message is kept out: it may hold record text."""

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any

log = logging.getLogger("clinprompt.serving")


def place_of(error: BaseException) -> str:
    """Return the kind of an error, and the file, function and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    file = Path(frames[-1].filename).name
    return f"{type(error).__name__} in {file}, {frames[-1].name}, line {frames[-1].lineno}"


def log_of_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task waited for; asyncio itself would log its message."""
    error = context.get("exception")
    log.error("an error in the background: %s", place_of(error) if error else "no exception")
