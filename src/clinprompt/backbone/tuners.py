"""What can be trained: prompts, PEFT's prompts, LoRA, all weights. Knows no tasks and no losses.

Axes: K tasks, P prompt positions, H hidden size.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.quantized import check_unquantized
from clinprompt.backbone.tensor_parallel import check_whole
from clinprompt.errors import SettingError, did_you_mean
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import Placement


class Tuner(Protocol):
    """The interface of everything that can be trained."""

    placement: Placement

    def prompts(self, tasks: Sequence[int]) -> Tensor | None:
        """Return the prompts [K, P, H] of the given tasks, or None if no prompt is trained."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""


class PromptTuner:
    """Train plain prompts or a metaprompt, at any placement."""

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
        """Return the trained tensors, grouped by the name of their learning rate."""
        return self.module.parameter_groups()


class OnePromptTuner:
    """Train one prompt that all tasks share, at any placement."""

    def __init__(self, module: SoftPrompts, placement: Placement = "prefix") -> None:
        self._module = module
        self.placement = placement

    def prompts(self, tasks: Sequence[int]) -> Tensor:
        """Return the prompt once for each of the given tasks, [K, P, H]."""
        prompts: Tensor = self._module([0] * len(tasks))
        return prompts

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        return self._module.parameter_groups()


class PeftPromptTuner:
    """Train PEFT's multitask prompt of one task (arXiv 2303.02861) with PEFT's initialization.

    The shared prompt is drawn from N(0, 1) and both factors from N(0, 0.02), so the composed prompt
    starts near zero.
    """

    placement: Placement = "prefix"

    def __init__(self, backbone: Backbone, *, length: int, rank: int, seed: int) -> None:
        from peft import MultitaskPromptTuningConfig  # noqa: PLC0415 - slow to import
        from peft.tuners import MultitaskPromptEmbedding  # noqa: PLC0415

        config = MultitaskPromptTuningConfig(
            task_type="CAUSAL_LM",
            num_tasks=1,
            num_ranks=rank,
            num_virtual_tokens=length,
            token_dim=backbone.hidden_size,
            num_transformer_submodules=1,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = MultitaskPromptEmbedding(config, backbone.model.get_input_embeddings())
        self._module: nn.Module = module.float().to(backbone.device)
        self._indices = torch.arange(length, device=backbone.device)[None]

    def prompts(self, tasks: Sequence[int]) -> Tensor:
        """Return the prompt [1, P, H] of the single task."""
        numbers = torch.as_tensor(tasks, device=self._indices.device)
        prompts: Tensor = self._module(self._indices, numbers)
        return prompts

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        return {"mpt": list(self._module.parameters())}


class WeightTuner:
    """Train weights of the model: low-rank adapters (see ``lora``) or all (see ``full``)."""

    placement: Placement = "prefix"  # has no effect without a prompt

    def __init__(self, name: str, parameters: list[nn.Parameter]) -> None:
        self._name, self._parameters = name, parameters

    def prompts(self, tasks: Sequence[int]) -> None:
        """Return None: no prompt is trained."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        return {self._name: self._parameters}


@contextmanager
def full(backbone: Backbone) -> Iterator[WeightTuner]:
    """Make all weights of the backbone trainable inside the block, and restore them afterwards.

    Raises:
        SettingError: the weights have 16 bits, which is too coarse for small updates, or they are
            quantized, or divided over processes.
    """
    check_whole(backbone.model, method="full")
    check_unquantized(backbone.model, method="full")
    weights = list(backbone.model.parameters())
    if any(weight.dtype != torch.float32 for weight in weights):
        raise SettingError(
            "method full trains the model's weights, which must be float32; set dtype = 'float32'"
        )
    stored = [weight.detach().clone() for weight in weights]
    backbone.model.requires_grad_(True)
    try:
        yield WeightTuner("full", weights)
    finally:
        backbone.model.requires_grad_(False)
        with torch.no_grad():
            for weight, before in zip(weights, stored, strict=True):
                weight.copy_(before)
                weight.grad = None


@contextmanager
def lora(
    backbone: Backbone, *, rank: int, modules: Sequence[str], seed: int
) -> Iterator[WeightTuner]:
    """Add new LoRA adapters of PEFT (arXiv 2106.09685) to the backbone inside the block.

    The scale is alpha / rank with alpha = 2 · rank. B starts at zero, so the adapters change
    nothing at first.

    Raises:
        SettingError: the backbone has no linear layer of one of the given names, or it is
            quantized, or divided over processes.
    """
    check_whole(backbone.model, method="lora")
    check_unquantized(backbone.model, method="lora")
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
        # PEFT 0.21 uses a name that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        wrapped = get_peft_model(backbone.model, config)
    try:
        yield WeightTuner("lora", [p for p in wrapped.parameters() if p.requires_grad])
    finally:
        wrapped.unload()
        backbone.model.requires_grad_(False)


def trained_tensors(tuner: Tuner) -> dict[str, Tensor]:
    """Return copies of the trained tensors, named by group and position, on the CPU."""
    return {
        f"{name}.{index}": tensor.detach().cpu().clone().contiguous()
        for name, group in tuner.parameter_groups().items()
        for index, tensor in enumerate(group)
    }


@torch.no_grad()
def copy_trained(tuner: Tuner, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors that ``trained_tensors`` returned for a tuner of the same form."""
    for name, group in tuner.parameter_groups().items():
        for index, tensor in enumerate(group):
            tensor.copy_(tensors[f"{name}.{index}"])


def trained_numbers(tuner: Tuner) -> int:
    """Return the number of parameters that a tuner trains."""
    return sum(p.numel() for group in tuner.parameter_groups().values() for p in group)
