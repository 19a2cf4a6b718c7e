"""AdamW with a learning rate for each group of parameters, warm-up and decay."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import nn
from torch.optim import AdamW

from clinprompt.errors import SettingError, did_you_mean

Decay = Literal["constant", "linear", "cosine"]


def build_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]], rates: Mapping[str, float]
) -> AdamW:
    """Return AdamW without weight decay; ``rates`` gives each group its learning rate.

    Raises:
        SettingError: a group has no rate, or a rate has no group.
    """
    if set(groups) != set(rates):
        strange = sorted(set(groups) ^ set(rates))[0]
        raise SettingError(f"learning rate {strange!r}: {did_you_mean(strange, groups)}")
    return AdamW(
        [{"params": list(groups[name]), "lr": rates[name]} for name in sorted(groups)],
        weight_decay=0.0,
    )


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float], factor: float) -> None:
    """Set the learning rate of every group to its rate times ``factor``."""
    for name, group in zip(sorted(rates), optimizer.param_groups, strict=True):
        group["lr"] = rates[name] * factor


def rate_factor(step: int, *, steps: int, warmup_steps: int, decay: Decay) -> float:
    """Return the factor of the learning rate at a step: linear warm-up, then the decay.

    The warm-up takes at most half of the steps.
    """
    warmup_steps = min(warmup_steps, steps // 2)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    match decay:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
