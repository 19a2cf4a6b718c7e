"""Log an unexpected error in the background. Its message is kept out: it may hold record text."""

import asyncio
import logging
from typing import Any

from clinprompt.errors import place_of

log = logging.getLogger("clinprompt.serving")


def log_of_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task waited for; asyncio itself would log its message."""
    error = context.get("exception")
    log.error("an error in the background: %s", place_of(error) if error else "no exception")
