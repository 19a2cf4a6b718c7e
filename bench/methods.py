"""One training step of clinprompt and of its peers, on the same rows and backbone.

Peers take their own loop: rows padded to the longest, ``model(..., labels=...).loss.backward()``,
with gradient accumulation where rows are many.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import (
    LoraConfig,
    MultitaskPromptTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.gradients import Loss, StepPrompts, accumulate_gradients
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.batches.encode import Row, collate
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.initializers import from_vocabulary
from clinprompt.settings.groups import DistillSettings, Placement, PromptSettings
from clinprompt.training.distillation import Teachers, distillation_loss
from clinprompt.training.member import TASK_LOSS, batches_of
from clinprompt.training.teacher_cache import CacheLayout, TeacherCache

Step = Callable[[Sequence[Row]], float]
PEER_TOKENS = 4096  # padded, prompts included: about 11 GB on SmolLM2-135M
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Prompt positions, tasks, learning rate; tokens that clinprompt reads at once."""

    length: int
    tasks: int
    micro_batch_tokens: int = 1024
    rate: float = 1e-3


def student(backbone: Backbone, shape: Shape, placement: Placement = "prefix") -> DecomposedPrompts:
    """Return a fresh metaprompt."""
    settings = PromptSettings(length=shape.length, placement=placement)
    shared = start_vectors(backbone, settings, seed=0)
    factors = neutral_factors(
        shape.tasks,
        length=shape.length,
        hidden_size=shared.shape[-1],
        rank=1,
        generator=torch.Generator().manual_seed(0),
    )
    return DecomposedPrompts(shared, *factors).to(backbone.device)


def metaprompt(backbone: Backbone, shape: Shape) -> Step:
    """Return clinprompt's step: the metaprompt on the task loss."""
    return _own_step(backbone, shape, lambda _: TASK_LOSS)


def in_every_layer(backbone: Backbone, shape: Shape) -> Step:
    """Return clinprompt's step: the metaprompt as keys and values of every layer."""
    return _own_step(backbone, shape, lambda _: TASK_LOSS, "layers")


def distilled_live(backbone: Backbone, shape: Shape) -> Step:
    """Return clinprompt's step with teachers that are computed every time."""
    settings = DistillSettings(cache_teachers=False)
    loss = distillation_loss(Teachers(backbone, _teachers(backbone, shape), settings))
    return _own_step(backbone, shape, lambda _: loss)


def distilled_cached(backbone: Backbone, shape: Shape) -> Step:
    """Return clinprompt's step with teachers whose outputs are cached (from the step before)."""
    settings, teachers = DistillSettings(), _teachers(backbone, shape)
    folder = TemporaryDirectory()
    known: dict[tuple[Row, ...], TeacherCache] = {}

    def loss(rows: Sequence[Row]) -> Loss:
        if tuple(rows) not in known:
            layout = CacheLayout(
                tuple(len(row.target_ids) for row in rows),
                settings.top_k,
                backbone.hidden_size,
                str(len(known)),
                1.0,
            )
            known[tuple(rows)] = TeacherCache(Path(folder.name) / f"{len(known)}.cache", layout)
        return distillation_loss(Teachers(backbone, teachers, settings, known[tuple(rows)]))

    return _own_step(backbone, shape, loss)


def peft_multitask(backbone: Backbone, shape: Shape) -> Step:
    """Return PEFT's multitask prompt tuning: every row carries its prompt."""
    config = MultitaskPromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=shape.length, num_tasks=shape.tasks
    )
    return _peft_step(get_peft_model(backbone.model, config), backbone, shape, names_task=True)


def peft_prompt(backbone: Backbone, shape: Shape) -> Step:
    """Return PEFT's prompt tuning."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=shape.length)
    return _peft_step(get_peft_model(backbone.model, config), backbone, shape)


def lora_8(backbone: Backbone, shape: Shape) -> Step:
    """Return PEFT's LoRA of rank 8 on the attention projections."""
    return _lora(backbone, shape, 8)


def lora_16(backbone: Backbone, shape: Shape) -> Step:
    """Return PEFT's LoRA of rank 16 on the attention projections."""
    return _lora(backbone, shape, 16)


METHODS: dict[str, Callable[[Backbone, Shape], Step]] = {
    "clinprompt, metaprompt": metaprompt,
    "clinprompt, metaprompt in every layer": in_every_layer,
    "clinprompt, distillation, teachers cached": distilled_cached,
    "clinprompt, distillation, teachers live": distilled_live,
    "PEFT, multitask prompt tuning": peft_multitask,
    "PEFT, prompt tuning": peft_prompt,
    "PEFT, LoRA r = 8": lora_8,
    "PEFT, LoRA r = 16": lora_16,
}


def _teachers(backbone: Backbone, shape: Shape) -> Bank:
    generator = torch.Generator().manual_seed(1)
    prompts = [
        from_vocabulary(backbone.embeddings, length=shape.length, generator=generator)
        for _ in range(shape.tasks)
    ]
    with torch.no_grad():
        return make_bank(backbone.model, torch.stack(prompts))


def _own_step(
    backbone: Backbone,
    shape: Shape,
    loss_of: Callable[[Sequence[Row]], Loss],
    placement: Placement = "prefix",
) -> Step:
    module = student(backbone, shape, placement)
    optimizer = torch.optim.AdamW(module.parameters(), lr=shape.rate)

    def step(rows: Sequence[Row]) -> float:
        optimizer.zero_grad()
        tasks = sorted({row.task for row in rows})
        batches = batches_of(backbone, rows, shape.micro_batch_tokens)
        prompts = StepPrompts(module(tasks), tasks, [0] * len(tasks), placement)
        [values] = accumulate_gradients(backbone.model, prompts, batches, loss_of(rows))
        optimizer.step()
        return values.total

    return step


def _lora(backbone: Backbone, shape: Shape, rank: int) -> Step:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=LORA_MODULES
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        return _peft_step(get_peft_model(backbone.model, config), backbone, shape)


def _peft_step(
    model: torch.nn.Module, backbone: Backbone, shape: Shape, *, names_task: bool = False
) -> Step:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=shape.rate)

    def step(rows: Sequence[Row]) -> float:
        optimizer.zero_grad()
        total = 0.0
        for part in _parts(rows, shape.length):
            batch = collate(part, pad_id=backbone.pad_id).to(backbone.device)
            named = {"task_ids": batch.tasks} if names_task else {}
            mask = batch.attention_mask.long()
            output = model(
                input_ids=batch.input_ids, attention_mask=mask, labels=batch.labels, **named
            )
            loss = output.loss * (len(part) / len(rows))
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        return total

    return step


def _parts(rows: Sequence[Row], length: int) -> list[Sequence[Row]]:
    """Part a step's rows for gradient accumulation: a peer's memory grows with padding."""
    at_once = max(1, PEER_TOKENS // (length + max(map(len, rows))))
    return [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
