"""Keep on disk what teachers say of each row, so that a later epoch costs no teacher pass.

Owns one file of fixed places, one for each target token, mapped into memory and filled as rows are
first met. Knows nothing of models. What is kept is rounded: log-probabilities and hidden states to
float16.

Axes: M target tokens of all rows, N those of a batch, k likeliest tokens, H hidden size.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clinprompt.errors import RunError
from clinprompt.training.losses import Taught

_MET = "met"


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The shape of a cache: target tokens of each row, k, H; and of which teachers it is."""

    lengths: tuple[int, ...]
    top_k: int
    hidden_size: int
    teachers: str
    temperature: float

    @property
    def num_bytes(self) -> int:
        """Return how large the file is once every row was met."""
        sizes = (np.dtype(kind).itemsize * width for kind, width in self.columns().values())
        return sum(sizes) * sum(self.lengths) + len(self.lengths)

    def columns(self) -> dict[str, tuple[str, int]]:
        """Return type and width of what is kept of a target token."""
        return {
            "likely": ("<i4", self.top_k),
            "log_likely": ("<f2", self.top_k),
            "log_rest": ("<f2", 1),
            "hidden": ("<f2", self.hidden_size),
        }


class TeacherCache:
    """What teachers said of the rows met so far. Rows are known by number."""

    def __init__(self, path: Path, plan: CachePlan) -> None:
        """Open the cache at ``path``, an empty one where there is none of this plan.

        Raises:
            RunError: the disk is full or the place cannot be written.
        """
        self._path = path
        self._starts = np.concatenate([[0], np.cumsum(plan.lengths)])
        try:
            self._columns = _mapped(path, plan)
        except OSError as error:
            path.unlink(missing_ok=True)  # half of it fills a full disk for nothing
            raise RunError(
                f"{path}: {plan.num_bytes:,} bytes for what teachers say could not be kept "
                f"({error.strerror or error}); free some space, or set distill.cache_teachers=false"
            ) from error

    def is_met(self, row: int) -> bool:
        """Tell whether a row is kept."""
        return bool(self._columns[_MET][row])

    def keep(self, rows: Sequence[int], taught: Taught) -> None:
        """Keep what was taught of rows, all their target tokens in order."""
        places = self._places(rows)
        for name, column in self._columns.items():
            if name != _MET:
                values = getattr(taught, name).detach().cpu()
                kept = values.half() if values.is_floating_point() else values
                column[places] = kept.numpy().reshape(len(places), -1)
        self._columns[_MET][list(rows)] = 1

    def recall(self, rows: Sequence[int], device: torch.device) -> Taught:
        """Return what was taught of rows, in float32."""
        places = self._places(rows)

        def read(name: str) -> Tensor:
            return torch.from_numpy(self._columns[name][places]).to(device)

        return Taught(
            likely=read("likely").long(),
            log_likely=read("log_likely").float(),
            log_rest=read("log_rest").float().squeeze(1),
            hidden=read("hidden").float(),
        )

    def delete(self) -> None:
        """Remove the files: what is kept is not needed any more."""
        self._columns.clear()
        remove_cache(self._path)

    def _places(self, rows: Sequence[int]) -> NDArray[Any]:
        return np.concatenate([np.arange(self._starts[r], self._starts[r + 1]) for r in rows])


def remove_cache(path: Path) -> None:
    """Remove the files of the cache at ``path``, if there are any."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def _take_room(stream: BinaryIO, num_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, num_bytes)
        return
    zeros = bytes(1 << 20)  # macOS has no such call: there, what is written is there
    for start in range(0, num_bytes, len(zeros)):
        stream.write(zeros[: num_bytes - start])


def _mapped(path: Path, plan: CachePlan) -> dict[str, NDArray[Any]]:
    """Return the file's columns, mapped; a file of another plan is replaced by an empty one."""
    header, stated = json.dumps(asdict(plan)), path.with_suffix(".json")
    if not (path.is_file() and stated.is_file() and stated.read_text(encoding="utf-8") == header):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # what teachers say gives answers away
        with path.open("wb") as stream:
            _take_room(stream, plan.num_bytes)  # else a full disk kills later
        stated.write_text(header, encoding="utf-8")
    columns: dict[str, NDArray[Any]] = {}
    offset, num_tokens = 0, sum(plan.lengths)
    for name, (kind, width) in plan.columns().items():
        shape = (num_tokens, width)
        columns[name] = np.memmap(path, dtype=kind, mode="r+", offset=offset, shape=shape)
        offset += columns[name].nbytes
    columns[_MET] = np.memmap(
        path, dtype="u1", mode="r+", offset=offset, shape=(len(plan.lengths),)
    )
    return columns
