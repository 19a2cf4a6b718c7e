"""Give every process of a run a folder to work in: the run's own, or a private copy of it.

The first of several processes that torchrun started works in the run's folder. The others get
copies of what a run continues from, so that all take the same decisions and none needs a shared
file system. What they write is removed at the end.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clinprompt.backbone.ranks import bytes_of_first, ranks
from clinprompt.runs.folder import alone_in, check_folder
from clinprompt.settings.run import RunConfig

# Not the log, and not the cache of teacher outputs: each process computes those that it needs.
_COPIED = (
    "config.json",
    "environment.json",
    "finished.json",
    "tasks.json",
    "checkpoints/*.safetensors*",
    "store/**/*",
)


@contextmanager
def work_folder(folder: Path, config: RunConfig) -> Iterator[Path]:
    """Yield where this process works on a run, after checking that its folder may hold the run.

    No other command can work on the run during the block.

    Raises:
        RunError: the folder holds something else, or another command works in it.
    """
    private = ranks().folder
    if private is not None:
        _receive(private)
        yield private
        return
    check_folder(folder, config, results_folder=folder)
    with alone_in(folder):
        if ranks().size > 1:
            _send(folder)
        yield folder


def _send(folder: Path) -> None:
    """Send the files that a run continues from to all other processes."""
    contents = {}
    for path in (path for pattern in _COPIED for path in folder.glob(pattern)):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            with suppress(FileNotFoundError):  # a comparison in this folder has just removed it
                contents[name.as_posix()] = path.read_bytes()
    bytes_of_first(json.dumps(list(contents)).encode())
    for content in contents.values():
        bytes_of_first(content)


def _receive(folder: Path) -> None:
    """Write the files that the first process sends."""
    for name in json.loads(bytes_of_first()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of_first())
