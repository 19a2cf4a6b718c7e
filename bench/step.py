"""Time training steps of clinprompt and its peers, alternately, in one process, on the same rows.

All methods take the same steps in turn; each step has other rows. A ratio is a peer's time divided
by clinprompt's on the same rows: its median, its range, and the ratio of all steps together. Before
anything is timed, clinprompt's loss is compared with PEFT's for one prompt.
"""

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from methods import METHODS, Shape, student
from peft import MultitaskPromptTuningConfig, get_peft_model
from rows import step_rows

from clinprompt.backbone.bank import make_bank, target_states
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.batches.encode import Row, collate

OWN = "clinprompt, metaprompt"


def measure(
    *, rows: int, tasks: int, length: int, longest: int, repeats: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Return medians, ratios and the share of the machine's limit for one size."""
    steps = [
        step_rows(rows=rows, tasks=tasks, longest=longest, seed=seed) for seed in range(repeats)
    ]
    shape = Shape(length, tasks)
    gap = loss_gap(load_backbone("smollm2-135m"), shape, steps[0])
    assert gap < 1e-4, f"clinprompt and PEFT compute different losses: {gap}"
    ready = {name: METHODS[name](load_backbone("smollm2-135m"), shape) for name in names or METHODS}
    times: dict[str, list[float]] = {name: [] for name in ready}
    rates = []
    for step in ready.values():
        step(steps[0][:2])  # to warm up
    for taken in steps:
        for name, step in ready.items():
            if "cached" in name:
                step(taken)  # fill the cache of the teachers' outputs for these rows
            started = perf_counter()
            step(taken)
            times[name].append(perf_counter() - started)
        rates.append(product_rate())
    needed = [needed_operations(load_backbone("smollm2-135m"), taken, shape) for taken in steps]
    shares = [n / t / r for n, t, r in zip(needed, times[OWN], rates, strict=True)]
    return {
        "rows": rows,
        "tasks": tasks,
        "prompt positions": length,
        "longest input": longest,
        "repeats": repeats,
        "tokens a step": statistics.median(sum(map(len, taken)) for taken in steps),
        "padding of peers": statistics.median(map(padding, steps)),
        "loss gap to PEFT": gap,
        "matrix products, GFLOP/s": statistics.median(rates) / 1e9,
        "share of the limit": statistics.median(shares),
        "steps": [_beside(name, own, times[OWN]) for name, own in times.items()],
    }


def _beside(name: str, taken: Sequence[float], own: Sequence[float]) -> dict[str, Any]:
    """Return the times of a method's steps, and their ratios to clinprompt's on the same rows."""
    ratios = [t / o for t, o in zip(taken, own, strict=True)]
    return {
        "what": name,
        "seconds": statistics.median(taken),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "all steps": sum(taken) / sum(own),
    }


def padding(rows: Sequence[Row]) -> float:
    """Return the share of positions that are padding where rows are padded to the longest."""
    return 1 - sum(map(len, rows)) / (len(rows) * max(map(len, rows)))


def needed_operations(backbone: Backbone, rows: Sequence[Row], shape: Shape) -> float:
    """Return 2N operations forward and 2N backward a position; the head at target tokens only.

    Positions are those of the prompts, once a task, and of the rows. N counts the weights of all
    layers; of a mixture of experts, those of the experts that a position meets. Attention itself is
    left out: it comes on top.
    """
    config = backbone.model.config
    met = getattr(config, "num_experts_per_tok", 1) / getattr(config, "num_local_experts", 1)
    weights = sum(
        p.numel() * (met if ".experts." in name else 1)
        for name, p in backbone.model.named_parameters()
        if not {"embed_tokens", "lm_head"} & set(name.split(".")) and "lora_" not in name
    )
    positions = shape.tasks * shape.length + sum(map(len, rows))
    targets = sum(len(row.target_ids) for row in rows)
    return 4.0 * (positions * weights + targets * backbone.embeddings.numel())


def product_rate() -> float:
    """Return operations a second of a large matrix product, as the layers have them."""
    left, right = torch.randn(1024, 576), torch.randn(576, 1536)
    best = float("inf")
    for _ in range(5):
        started = perf_counter()
        for _ in range(20):
            left @ right
        best = min(best, perf_counter() - started)
    return 20 * 2 * 1024 * 576 * 1536 / best


def loss_gap(backbone: Backbone, shape: Shape, rows: Sequence[Row]) -> float:
    """Return the relative difference of clinprompt's and PEFT's mean loss on the same prompts."""
    module = student(backbone, shape)
    batch = collate(rows, pad_id=backbone.pad_id)
    with torch.no_grad():
        bank = make_bank(backbone.model, module(range(shape.tasks)))
        states = target_states(backbone.model, batch, bank)
        own = torch.nn.functional.cross_entropy(states.logits, states.labels)
        config = MultitaskPromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=shape.length, num_tasks=shape.tasks
        )
        peer = get_peft_model(backbone.model, config)
        encoder = peer.prompt_encoder["default"]
        encoder.embedding.weight.copy_(module.shared)
        encoder.prefix_task_cols.copy_(module.u)
        encoder.prefix_task_rows.copy_(module.v)
        theirs = peer(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask.long(),
            labels=batch.labels,
            task_ids=batch.tasks,
        ).loss
    return abs(float(own - theirs)) / float(theirs)
