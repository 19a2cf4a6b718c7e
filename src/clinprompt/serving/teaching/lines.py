"""Keep values as JSON Lines in a private file: append, read, replace. Knows nothing of the values.

A line counts once it is complete. A process that is killed while it writes may leave an incomplete
last line, which is dropped.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clinprompt.errors import DataError
from clinprompt.files import append_line, complete_lines, write_bytes, write_text

Values = Mapping[str, Any]
log = logging.getLogger("clinprompt.serving")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the values of all complete lines; none if there is no file.

    Raises:
        DataError: a complete line is no JSON object.
    """
    lines, rest = complete_lines(path)
    if rest:
        log.warning("%s: the last line is incomplete and is dropped", path)
    return [_values(path, number, line) for number, line in enumerate(lines, start=1)]


def _values(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}:{number}: is damaged; delete this line, and start the server again"
        ) from error


def append_lines(path: Path, rows: Iterable[Values]) -> None:
    """Append all values or none, and wait until they are on the disk.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    if len(lines) == 1:
        append_line(path, lines[0], is_private=True)
    elif lines:  # several could be written in part
        before = path.read_bytes() if path.is_file() else b""
        whole = before[: before.rfind(b"\n") + 1]
        write_bytes(path, whole + "".join(f"{line}\n" for line in lines).encode(), is_private=True)


def replace_lines(path: Path, rows: Iterable[Values]) -> None:
    """Replace all values, completely or not at all.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    write_text(path, text, is_private=True)
