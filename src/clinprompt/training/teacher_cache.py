"""Keep the outputs of teachers on disk, so that each row needs only one teacher pass.

Owns one file, mapped into memory, with a fixed position for each target token. A row is filled in
when it is first read. Log-probabilities and hidden states are rounded to float16. Knows nothing of
models.

What is mapped reaches the disk in any order, so a power cut could leave a row that counts as filled
in but is not. Therefore a cache is used only until the machine starts again.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinprompt.errors import RunError
from clinprompt.files import removing
from clinprompt.training.losses import TeacherOutputs

_FILLED = "filled"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # of Linux; changes whenever the machine starts


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """The contents of a cache: whose outputs it holds, and their sizes.

    ``lengths`` are the numbers of target tokens of all rows, ``teachers`` identifies the teachers,
    and ``temperature`` is that of their log-probabilities.
    """

    lengths: tuple[int, ...]
    top_k: int
    hidden_size: int
    teachers: str
    temperature: float

    @property
    def num_bytes(self) -> int:
        """Return the size of the file."""
        sizes = (np.dtype(kind).itemsize * width for kind, width in self.columns().values())
        return sum(sizes) * sum(self.lengths) + len(self.lengths)

    def columns(self) -> dict[str, tuple[str, int]]:
        """Return the type and width of each value that is kept for a target token."""
        return {
            "likely": ("<i4", self.top_k),
            "log_likely": ("<f2", self.top_k),
            "log_rest": ("<f2", 1),
            "hidden": ("<f2", self.hidden_size),
        }


class TeacherCache:
    """The outputs of teachers for the rows read so far. Rows are identified by number."""

    def __init__(self, path: Path, layout: CacheLayout) -> None:
        """Open the cache at ``path``; start an empty one if there is none with this layout.

        Raises:
            RunError: the disk is full or the file cannot be written.
        """
        self._path = path
        self._starts = np.concatenate([[0], np.cumsum(layout.lengths)])
        try:
            self._columns = _mapped(path, layout)
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)  # part of a file would only fill the disk
            raise RunError(
                f"{path}: cannot reserve {layout.num_bytes:,} bytes for the outputs of teachers "
                f"({error.strerror or error}); free some space, or set distill.cache_teachers=false"
            ) from error

    def has(self, row: int) -> bool:
        """Return whether the outputs for a row are kept."""
        return bool(self._columns[_FILLED][row])

    def add(self, rows: Sequence[int], outputs: TeacherOutputs) -> None:
        """Keep the outputs for rows: all target tokens of the first row, then of the next."""
        places = self._places(rows)
        for name, column in self._columns.items():
            if name != _FILLED:
                values = getattr(outputs, name).detach().cpu()
                kept = values.half() if values.is_floating_point() else values
                column[places] = kept.numpy().reshape(len(places), -1)
        self._columns[_FILLED][list(rows)] = 1

    def read(self, rows: Sequence[int], device: torch.device) -> TeacherOutputs:
        """Return the outputs for rows, in float32."""
        places = self._places(rows)

        def column(name: str) -> Tensor:
            return torch.from_numpy(self._columns[name][places]).to(device)

        return TeacherOutputs(
            likely=column("likely").long(),
            log_likely=column("log_likely").float(),
            log_rest=column("log_rest").float().squeeze(1),
            hidden=column("hidden").float(),
        )

    def delete(self) -> None:
        """Remove the files."""
        self._columns.clear()
        remove_cache(self._path)

    def _places(self, rows: Sequence[int]) -> NDArray[Any]:
        return np.concatenate([np.arange(self._starts[r], self._starts[r + 1]) for r in rows])


def remove_cache(path: Path) -> None:
    """Remove the files of the cache at ``path`` if there are any.

    Raises:
        NotRemovedError: a file cannot be removed.
    """
    with removing(f"outputs of teachers, {path}", then="run the same command again"):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)


def _reserve(stream: BinaryIO, num_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, num_bytes)
        return
    zeros = bytes(1 << 20)  # macOS has no such call: write zeros instead
    for start in range(0, num_bytes, len(zeros)):
        stream.write(zeros[: num_bytes - start])


def _mapped(path: Path, layout: CacheLayout) -> dict[str, NDArray[Any]]:
    """Map the columns of the file into memory.

    Start an empty file if its layout is another, or if the machine has started since it was made.
    """
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.is_file() else ""
    header, stated = json.dumps({**asdict(layout), "boot": boot}), path.with_suffix(".json")
    if not (path.is_file() and stated.is_file() and stated.read_text(encoding="utf-8") == header):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # outputs of teachers reveal answers
        with path.open("wb") as stream:
            _reserve(stream, layout.num_bytes)  # otherwise a full disk kills the run later
        stated.write_text(header, encoding="utf-8")
    columns: dict[str, NDArray[Any]] = {}
    offset, num_tokens = 0, sum(layout.lengths)
    for name, (kind, width) in layout.columns().items():
        shape = (num_tokens, width)
        columns[name] = np.memmap(path, dtype=kind, mode="r+", offset=offset, shape=shape)
        offset += columns[name].nbytes
    columns[_FILLED] = np.memmap(
        path, dtype="u1", mode="r+", offset=offset, shape=(len(layout.lengths),)
    )
    return columns
