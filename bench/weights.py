"""Compute the memory of a training step for weights of 32, 16, 8 and 4 bits, and measure some.

Run: python bench/weights.py. It prints two tables. The first, which is in docs/scaling.md, is
computed by the planner, for the default settings of an adaptation. The second measures a step on
the default backbone, each in a process of its own: the resident set at its peak, without that of
the libraries.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from clinprompt.backbone.model_sizes import PUBLISHED, sizes_of_config
from clinprompt.jobs.planning.memory import Memory, prompt_memory, weight_bytes
from clinprompt.settings.run import RunConfig, check_config

BACKBONE = "smollm2-135m"
KINDS = ("float32", "bfloat16", "8-bit", "4-bit")


def _model(kind: str, *sizes: int, **others: object) -> dict[str, Any]:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    shape = dict(zip((*names, "intermediate_size", "vocab_size"), sizes, strict=True))
    return {"model_type": kind, "max_position_embeddings": 32768, "head_dim": 128} | shape | others


MODELS: Mapping[str, Mapping[str, Any]] = {
    "SmolLM2 135M": PUBLISHED[BACKBONE],
    "Llama 3.2 1B": _model(
        *("llama", 2048, 16, 32, 8, 8192, 128256), head_dim=64, tie_word_embeddings=True
    ),
    "Llama 3.2 3B": _model("llama", 3072, 28, 24, 8, 8192, 128256, tie_word_embeddings=True),
    "Llama 3.1 8B": PUBLISHED["meta-llama/Llama-3.1-8B"],
    "Qwen3 14B": _model("qwen3", 5120, 40, 40, 8, 17408, 151936),
    "Qwen3 32B": _model("qwen3", 5120, 64, 64, 8, 25600, 151936),
    "Llama 3.1 70B": _model("llama", 8192, 80, 64, 8, 28672, 128256),
}


def config_for(kind: str, *, again: bool = False) -> RunConfig:
    """Return default settings with weights of a kind; quantized ones compute in bfloat16."""
    quantize, dtype = ("none", kind) if "float" in kind else (kind, "bfloat16")
    values = {"name": "x", "dtype": dtype, "quantize": quantize, "gradient_checkpointing": again}
    return check_config(values, source="bench")


def step_memory(name: str, config: RunConfig) -> Memory:
    """Return what the planner computes for training one prompt."""
    sizes = sizes_of_config(name, AutoConfig.for_model(**MODELS[name]))
    return prompt_memory(config, sizes, 0)


def computed() -> list[str]:
    """Return the table of computed memory."""
    lines = [
        "| model | weights: " + " | ".join(KINDS) + " | adaptation: " + " | ".join(KINDS) + " |",
        "| --- |" + " --- |" * 2 * len(KINDS),
    ]
    for name, shape in MODELS.items():
        sizes = sizes_of_config(name, AutoConfig.for_model(**shape))
        weights = [f"{weight_bytes(config_for(kind), sizes) / 1e9:.2f}" for kind in KINDS]
        steps = [
            " / ".join(
                f"{step_memory(name, config_for(kind, again=again)).total / 1e9:.1f}"
                for again in (False, True)
            )
            for kind in KINDS
        ]
        lines.append(f"| {name} | {' | '.join([*weights, *steps])} |")
    return lines


def measured() -> list[str]:
    """Return the table of measured memory."""
    lines = [
        "| weights | layers computed again | computed (MB) | measured (MB) | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in ("none", "8-bit", "4-bit"):
        for again in (False, True):
            size = json.dumps({"quantize": kind, "gradient_checkpointing": again})
            command = [sys.executable, str(Path(__file__)), size]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            name = "float32" if kind == "none" else kind
            lines.append(
                f"| {name} | {'yes' if again else 'no'} | {found['computed']:,.0f} | "
                f"{found['measured']:,.0f} | {found['measured'] - found['computed']:+.0f} |"
            )
    return lines


def _one(changes: dict[str, Any]) -> dict[str, float]:
    import torch  # noqa: PLC0415 - counted with the process it serves

    from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients  # noqa: PLC0415
    from clinprompt.backbone.load import load_backbone  # noqa: PLC0415
    from clinprompt.backbone.memory import peak_bytes, start_peak  # noqa: PLC0415
    from clinprompt.backbone.recompute import recompute_layers  # noqa: PLC0415
    from clinprompt.batches.encode import Row, collate  # noqa: PLC0415
    from clinprompt.training.member import TASK_LOSS  # noqa: PLC0415

    config = check_config({"name": "x", **changes}, source="bench")
    memory = step_memory("SmolLM2 135M", config)
    device, data = torch.device("cpu"), config.data
    gc.collect()
    start_peak(device)
    before = peak_bytes(device)
    backbone = load_backbone(BACKBONE, device="cpu", quantize=config.quantize)
    for weight in backbone.model.parameters():  # else the whole checkpoint stays mapped
        weight.data = weight.data.clone()
    if config.gradient_checkpointing:
        recompute_layers(backbone.model)
    length = data.max_input_tokens + data.max_target_tokens
    most = max(one.micro_batch_tokens for one in (config.teacher, config.distill, config.adapt))
    row = Row(0, (5,) * data.max_input_tokens, (7,) * data.max_target_tokens)
    batch = collate([row] * max(1, most // length), pad_id=0)
    vectors = backbone.embeddings[: config.prompt.length][None].clone().requires_grad_()
    gc.collect()
    start_peak(device)
    step = StepPrompts(vectors, (0,), (0,))
    accumulate_gradients(backbone.model, step, [batch], TASK_LOSS)
    return {"computed": memory.total / 1e6, "measured": (peak_bytes(device) - before) / 1e6}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_one(json.loads(sys.argv[1]))))
    else:
        print("\n".join([*computed(), "", *measured()]))
