"""Save and load the state of a training run as one safetensors file. Knows nothing of methods.

Things that are trained side by side share one file: tensors of the first have plain names, those of
the others start with its position, as in ``2/parameter.0``. The checkpoint before the last one is
kept, too, and takes its place if the last one is damaged.
"""

import glob
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from clinprompt.errors import RunError
from clinprompt.files import removing, write_bytes

_CHECKSUM = "checksum"
_AGAIN = "run the same command again"


@dataclass
class Progress:
    """The progress of training. It changes with each step; ``step`` counts finished steps.

    ``best`` are the parameters with the lowest validation loss, and ``mean`` those averaged over
    the last steps; each is empty if it is not wanted or did not begin.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last_loss: float = float("nan")
    best_loss: float = float("inf")
    best_step: int = 0
    best: list[Tensor] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)


@dataclass
class State:
    """What changes in training: parameters, the state of their optimizer, and the progress."""

    parameters: list[nn.Parameter]
    optimizer: Optimizer
    progress: Progress = field(default_factory=Progress)


def save_checkpoint(path: Path, states: Sequence[State]) -> None:
    """Save the states of one training run in one file, written completely or not at all.

    The checkpoint that was there is kept as ``before(path)``.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    stored: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for number, state in enumerate(states):
        begin, progress = _prefix(number), state.progress
        tensors = {f"parameter.{i}": p.detach() for i, p in enumerate(state.parameters)}
        tensors |= {f"best.{i}": tensor for i, tensor in enumerate(progress.best)}
        tensors |= {f"mean.{i}": tensor for i, tensor in enumerate(progress.mean)}
        for index, own in state.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in own.items()}
        numbers = {
            name: getattr(progress, name)
            for name in ("step", "tokens", "seconds", "last_loss", "best_loss", "best_step")
        }
        stored |= {begin + name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        metadata[begin + "progress"] = json.dumps(numbers)
    metadata[_CHECKSUM] = _checksum(stored, metadata)
    write_bytes(path, save(stored, metadata=metadata), before=before(path))


def before(path: Path) -> Path:
    """Return where the checkpoint before the last one is kept."""
    return path.with_name(f"{path.name}.before")


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, the one before it, and what killed processes wrote of one.

    Raises:
        NotRemovedError: a file cannot be removed.
    """
    for one in (path, before(path), *path.parent.glob(f".{glob.escape(path.name)}.*.part")):
        with removing(f"checkpoint {one}", then=_AGAIN):
            one.unlink(missing_ok=True)


def resume(path: Path, states: Sequence[State], say: Callable[[str], None]) -> bool:
    """Restore the states of the last checkpoint, if there is one; return whether there is.

    If it is damaged, it is removed, and the one before it takes its place; ``say`` shows that.

    Raises:
        RunError: both are damaged, or their parameters have other shapes, or the damaged one cannot
            be removed.
    """
    if path.is_file():
        try:
            load_checkpoint(path, states)
        except RunError:
            if not before(path).is_file():
                raise
            load_checkpoint(before(path), states)
            with removing(f"damaged checkpoint {path}", then=_AGAIN):
                path.unlink()
            say(f"{path}: was damaged and is removed; the checkpoint before it is used")
        return True
    if before(path).is_file():  # a process was killed while it wrote the last one
        load_checkpoint(before(path), states)
        return True
    return False


def load_checkpoint(path: Path, states: Sequence[State]) -> None:
    """Restore saved states: parameters, optimizers and progress.

    Raises:
        RunError: the file is damaged, or its parameters have other shapes.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata() or {}
        if metadata.pop(_CHECKSUM) != _checksum(tensors, metadata):
            raise ValueError("changed after it was written")
        if metadata.keys() != {_prefix(number) + "progress" for number in range(len(states))}:
            raise ValueError("other states")
        for number, state in enumerate(states):
            begin = _prefix(number)
            state.progress = Progress(**json.loads(metadata[begin + "progress"]))
            own = {name: t for name, t in tensors.items() if name.rpartition("/")[0] == begin[:-1]}
            _restore({name.removeprefix(begin): t for name, t in own.items()}, state)
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{path}: checkpoint is damaged or belongs to another run; delete it to train this "
            "phase again"
        ) from error


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the CRC-32 of all names and values: bits that a disk has changed are found."""
    found = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().tobytes(), found)
    return f"{found:08x}"


def _prefix(number: int) -> str:
    return f"{number}/" if number else ""


def _restore(tensors: dict[str, Tensor], state: State) -> None:
    parameters, optimizer = state.parameters, state.optimizer
    stored = {name: t.shape for name, t in tensors.items() if name.startswith("parameter.")}
    if stored != {f"parameter.{i}": p.shape for i, p in enumerate(parameters)}:
        raise ValueError("other parameters")
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(tensors[f"parameter.{i}"])
    for kept in ("best", "mean"):
        found = [tensors.get(f"{kept}.{i}") for i in range(len(parameters))]
        own = [t.to(p.device) for t, p in zip(found, parameters, strict=True) if t is not None]
        setattr(state.progress, kept, own)
    known: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            known.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": known})
