"""Save and load the state of a training run as one safetensors file. Knows nothing of methods."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from clinprompt.errors import RunError
from clinprompt.files import write_bytes


@dataclass
class Progress:
    """How far a training run is. Changes as it goes; ``step`` counts finished steps."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last_loss: float = float("nan")
    best_loss: float = float("inf")
    best_step: int = 0
    best: list[Tensor] = field(default_factory=list)


def save_checkpoint(
    path: Path, parameters: Sequence[nn.Parameter], optimizer: Optimizer, progress: Progress
) -> None:
    """Save parameters, optimizer state and progress; the file is there whole or not at all."""
    tensors = {f"parameter.{i}": p.detach() for i, p in enumerate(parameters)}
    tensors |= {f"best.{i}": tensor for i, tensor in enumerate(progress.best)}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    numbers = {
        name: getattr(progress, name)
        for name in ("step", "tokens", "seconds", "last_loss", "best_loss", "best_step")
    }
    stored = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    write_bytes(path, save(stored, metadata={"progress": json.dumps(numbers)}))


def load_checkpoint(
    path: Path, parameters: Sequence[nn.Parameter], optimizer: Optimizer
) -> Progress:
    """Put a saved state back into parameters and optimizer; return the progress.

    Raises:
        RunError: the file is damaged or belongs to other parameters.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            progress = Progress(**json.loads(stored.metadata()["progress"]))
        _restore(tensors, parameters, optimizer, progress)
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise RunError(
            f"{path}: checkpoint damaged or of another run; delete it to train this part again"
        ) from error
    return progress


def _restore(
    tensors: dict[str, Tensor],
    parameters: Sequence[nn.Parameter],
    optimizer: Optimizer,
    progress: Progress,
) -> None:
    stored = {name: t.shape for name, t in tensors.items() if name.startswith("parameter.")}
    if stored != {f"parameter.{i}": p.shape for i, p in enumerate(parameters)}:
        raise ValueError("other parameters")
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(tensors[f"parameter.{i}"])
    progress.best = [tensors[f"best.{i}"] for i in range(len(parameters)) if "best.0" in tensors]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
