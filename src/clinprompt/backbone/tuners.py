"""What can be trained beside a frozen backbone: prompts or LoRA. Knows nothing of tasks or losses.

Axes: K tasks, P prompt positions, H hidden size.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from clinprompt.backbone.load import Backbone
from clinprompt.config import Placement
from clinprompt.errors import SettingError, did_you_mean
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts


class Tuner(Protocol):
    """What the training recipe needs of something trainable."""

    placement: Placement

    def prompts(self, tasks: Sequence[int]) -> Tensor | None:
        """Return the prompts [K, P, H] of the given tasks; None where there is no prompt."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors by the name of their learning rate."""


class PromptTuner:
    """Train prompts, plain ones or a metaprompt, in front of the text or behind the input."""

    def __init__(
        self, module: SoftPrompts | DecomposedPrompts, placement: Placement = "prefix"
    ) -> None:
        self.module = module
        self.placement = placement

    def prompts(self, tasks: Sequence[int]) -> Tensor:
        """Return the prompts [K, P, H] of the given tasks."""
        prompts: Tensor = self.module(tasks)
        return prompts

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors by the name of their learning rate."""
        return self.module.parameter_groups()


class LoraTuner:
    """Train PEFT's low-rank adapters (arXiv 2106.09685) inside the model; see ``lora``."""

    placement: Placement = "prefix"  # of no prompt

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self._parameters = parameters

    def prompts(self, tasks: Sequence[int]) -> None:
        """Return no prompt."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors by the name of their learning rate."""
        return {"lora": self._parameters}


@contextmanager
def lora(
    backbone: Backbone, *, rank: int, modules: Sequence[str], seed: int
) -> Iterator[LoraTuner]:
    """Put fresh adapters into the backbone for as long as the block runs.

    The scale is alpha / rank with alpha = 2 · rank; B starts at zero, so the model starts as it is.

    Raises:
        SettingError: the backbone has no linear layer of one of the names.
    """
    last_names = {name.rpartition(".")[2] for name, _ in backbone.model.named_modules()}
    if unknown := sorted(set(modules) - last_names):
        hint = did_you_mean(unknown[0], last_names)
        raise SettingError(
            f"baselines.lora_modules: backbone {backbone.name} has no {unknown[0]!r}; {hint}"
        )
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow, and only LoRA needs it

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=list(modules), task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT 0.21 asks transformers for a name that transformers renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        wrapped = get_peft_model(backbone.model, config)
    try:
        yield LoraTuner([p for p in wrapped.parameters() if p.requires_grad])
    finally:
        wrapped.unload()
        backbone.model.requires_grad_(False)


def trained_numbers(tuner: Tuner) -> int:
    """Return how many numbers a tuner trains."""
    return sum(p.numel() for group in tuner.parameter_groups().values() for p in group)
