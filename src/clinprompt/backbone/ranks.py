"""Compute with several processes that torchrun started: which one this is, sums over all of them.

Outside of ``joined`` there is one process, and nothing is sent. Small values are exchanged through
gloo, as is everything on the CPU. Tensors on a GPU are added up by NCCL. Owns one changing value:
the group that this process has joined. Knows nothing of training.

All processes must call the functions that exchange something in the same order.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, distributed

from clinprompt.errors import RunError

_LONGEST_WAIT = timedelta(minutes=30)  # for the slowest process
_OF_TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


class LostProcessError(RunError):
    """Signal that another process of the run has ended, or does not answer."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is, counted from 0, and how many there are.

    ``folder`` is an empty, private folder of all but the first process. It is removed at the end.
    """

    rank: int = 0
    size: int = 1
    folder: Path | None = None

    @property
    def name(self) -> str:
        """Return the name of this process for messages."""
        return f"process {self.rank + 1} of {self.size}"


_joined: list[Ranks] = []


def ranks() -> Ranks:
    """Return which process of the joined group this is."""
    return _joined[-1] if _joined else Ranks()


def started() -> Ranks:
    """Return which process of those that torchrun started this is, by its environment."""
    if not os.environ.keys() >= _OF_TORCHRUN:
        return Ranks()
    return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def local_rank() -> int | None:
    """Return the number of this process among those on this machine; None without torchrun."""
    return int(os.environ["LOCAL_RANK"]) if os.environ.keys() >= _OF_TORCHRUN else None


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the group of the processes that torchrun started during the block.

    At the end of the block, wait until all processes are there. If the block fails, this process
    must end soon, so that no other one waits for it.

    Raises:
        RunError: the others did something else in their block.
        LostProcessError: another process has ended.
    """
    own = started()
    if own.size == 1:
        yield own
        return
    has_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if has_nccl else "gloo"
    with _answered():
        distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    with TemporaryDirectory(prefix="clinprompt-") as scratch:
        _joined.append(Ranks(own.rank, own.size, Path(scratch) if own.rank else None))
        try:
            yield ranks()
            check_same({"work": "finished"})
            distributed.destroy_process_group()
        finally:
            _joined.clear()


def check_same(values: Mapping[str, str]) -> None:
    """Check that all processes give the same values, by name.

    Raises:
        RunError: they differ; the message has the names, not the values.
        LostProcessError: another process has ended.
    """
    first, *others = (json.loads(text) for text in _texts_of_all(json.dumps(dict(values))))
    for number, other in enumerate(others, start=2):
        names = sorted(first.keys() | other.keys())
        if differing := [name for name in names if first.get(name) != other.get(name)]:
            raise RunError(
                f"processes 1 and {number} of {ranks().size} differ in {', '.join(differing)}; all "
                "need the same command, versions, data, backbone and kind of processor, and no "
                "other command may work in the run's folder; then run the same command again"
            )


def gathered(values: Tensor) -> Tensor:
    """Return the values [n] of all processes, on the CPU and in float64, as [processes, n]."""
    own = values.detach().double().cpu()
    if ranks().size == 1:
        return own[None]
    every = [torch.empty_like(own) for _ in range(ranks().size)]
    with _answered():
        distributed.all_gather(every, own)
    return torch.stack(every)


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all processes, with the same bits in each of them."""
    if ranks().size > 1:
        with _answered():
            distributed.all_reduce(tensor)


def copy_from_first(tensor: Tensor) -> None:
    """Replace a tensor by that of the first process."""
    if ranks().size > 1:
        with _answered():
            distributed.broadcast(tensor, src=0)


def bytes_of_first(content: bytes = b"") -> bytes:
    """Return the bytes that the first process gives."""
    length = torch.tensor([len(content)])
    copy_from_first(length)
    if not length:
        return b""
    sent = torch.zeros(int(length), dtype=torch.uint8)
    if ranks().rank == 0:
        sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    copy_from_first(sent)
    return sent.numpy().tobytes()


def _texts_of_all(text: str) -> list[str]:
    """Return the text of every process, in their order."""
    own = text.encode()
    lengths = gathered(torch.tensor([len(own)]))[:, 0].long().tolist()
    padded = torch.tensor(list(own.ljust(max(lengths))))
    rows = gathered(padded).to(torch.uint8)
    return [bytes(row[:n].tolist()).decode() for row, n in zip(rows, lengths, strict=True)]


@contextmanager
def _answered() -> Iterator[None]:
    """Raise an error with a remedy if another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"{started().name}: another process of this run has ended or does not answer; its own "
            "message says why, if it had time to print one. Run the same command again to continue "
            f"({str(error).partition(chr(10))[0]})"
        ) from error
