"""Time training steps at the true shapes of large backbones, on one GPU, against PEFT.

Weights are random and made on the device, so nothing is downloaded; the cost of a step does not
depend on them. Prints and writes OUT/gpu.json after each backbone. Needs one GPU with 80 GB for ten
minutes; in addition to torch, transformers and peft it needs bench/gpu-requirements.txt.

Run: python bench/gpu.py OUT
     python bench/gpu.py OUT --tiny    (the same steps in seconds, at tiny sizes, on any processor)
"""

import argparse
import gc
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import methods
import torch
from methods import METHODS, Shape
from rows import random_ids
from step import needed_operations
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    GptOssConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.backbone.packed import use_packed_attention
from clinprompt.batches.encode import Row
from clinprompt.errors import BackboneError

TASKS, TARGETS = 4, 32
NAMES = ["clinprompt, metaprompt", "PEFT, multitask prompt tuning", "PEFT, LoRA r = 8"]
LLAMA_8B = LlamaConfig(
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128_256,
    max_position_embeddings=8192,
    rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
)
GPT_OSS_20B = GptOssConfig(
    num_hidden_layers=24,
    hidden_size=2880,
    intermediate_size=2880,
    num_local_experts=32,
    num_experts_per_tok=4,
    num_attention_heads=64,
    num_key_value_heads=8,
    head_dim=64,
    vocab_size=201_088,
    layer_types=["sliding_attention", "full_attention"] * 12,
)


@dataclass(frozen=True)
class StepSize:
    """How large a step is: rows of up to ``longest`` tokens, and prompts of ``length`` positions.

    ``timed`` steps are timed, after one more.
    """

    rows: int = 16
    length: int = 100
    longest: int = 1024
    timed: int = 5


TINY_STEP = StepSize(rows=4, length=8, longest=64, timed=1)
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 30_000,
}


def main() -> None:
    """Measure every backbone that fits; write as each is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    wanted = parser.parse_args()
    step = TINY_STEP if wanted.tiny else StepSize()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"device": _name(device), "torch": torch.__version__}
    for name, config, at_once in (
        ("Llama 3.1 8B", LLAMA_8B, 4096),
        ("gpt-oss 20B", GPT_OSS_20B, 2 * 1124),
    ):
        if wanted.tiny:
            config.update(TINY)
            config.update({"layer_types": config.layer_types[:2]} if "oss" in name else {})
        found[name] = backbone_steps(config, device, at_once, step)
        _save(wanted.out, found)
    try:
        found["SmolLM2-135M"] = smollm_steps(device, replace(step, longest=min(step.longest, 512)))
    except BackboneError as error:
        found["SmolLM2-135M"] = {"left out": str(error)}
    _save(wanted.out, found)


def backbone_steps(
    config: PreTrainedConfig, device: torch.device, at_once: int, step: StepSize
) -> dict[str, Any]:
    """Return time, peak memory and share of the limit of each method, one after the other."""
    methods.PEER_TOKENS = at_once
    rows = [drawn_rows(seed, step) for seed in range(step.timed + 1)]
    shape = Shape(step.length, TASKS, micro_batch_tokens=at_once)
    result: dict[str, Any] = {
        "rows": step.rows,
        "prompt positions": step.length,
        "longest": step.longest,
    }
    for name in NAMES:
        backbone = random_backbone(config, device)
        result[name] = timed(METHODS[name](backbone, shape), rows, device)
        if name == NAMES[0]:
            result["share of the limit"] = share(backbone, rows[1:], shape, result[name]["seconds"])
        del backbone
        _clean(device)
    own = result[NAMES[0]]["seconds"]
    for name in NAMES:
        result[name]["ratio"] = result[name]["seconds"] / own
    return result


def smollm_steps(device: torch.device, step: StepSize) -> dict[str, Any]:
    """Return the speed of a step on the default backbone, in tokens a second."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    backbone = load_backbone("smollm2-135m", device=str(device), dtype=dtype)
    rows = [drawn_rows(seed, step) for seed in range(step.timed + 1)]
    shape = Shape(step.length, TASKS, micro_batch_tokens=16_384)
    result = timed(METHODS[NAMES[0]](backbone, shape), rows, device)
    tokens = statistics.median(sum(map(len, taken)) for taken in rows[1:])
    return result | {"tokens a second": tokens / result["seconds"]}


def random_backbone(config: PreTrainedConfig, device: torch.device) -> Backbone:
    """Return a frozen model of random weights on the device, in bfloat16 on CUDA."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    implementation = "eager" if isinstance(config, GptOssConfig) else "sdpa"
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=implementation
        )
    use_packed_attention(model.requires_grad_(False).eval())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), pad_token="0")
    return Backbone("random", model, tokenizer, "random", device)


def drawn_rows(seed: int, step: StepSize) -> list[Row]:
    """Return rows of an eighth of ``longest`` to ``longest`` tokens, targets included."""
    draw, longest = Random(seed), step.longest
    return [
        Row(
            number % TASKS,
            random_ids(draw.randint(longest // 8, longest) - TARGETS // 8, draw),
            random_ids(TARGETS // 8 if longest < 128 else TARGETS, draw),
            number=number,
        )
        for number in range(step.rows)
    ]


def timed(
    step: methods.Step, rows: Sequence[Sequence[Row]], device: torch.device
) -> dict[str, float]:
    """Return the median time of a step after a first one, and the peak of the device's memory."""
    step(rows[0])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for taken in rows[1:]:
        _wait(device)
        started = perf_counter()
        step(taken)
        _wait(device)
        seconds.append(perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    return {"seconds": statistics.median(seconds), "peak GB": peak}


def share(backbone: Backbone, rows: Sequence[Sequence[Row]], shape: Shape, seconds: float) -> float:
    """Return needed operations over time, as a share of the measured rate of a matrix product."""
    needed = statistics.median(needed_operations(backbone, taken, shape) for taken in rows)
    return needed / seconds / _product_rate(backbone)


def _product_rate(backbone: Backbone) -> float:
    size = 8192 if backbone.device.type == "cuda" else 512
    dtype = backbone.embeddings.dtype
    left, right = torch.randn(2, size, size, device=backbone.device).to(dtype)
    left @ right
    taken = []
    for _ in range(10):
        _wait(backbone.device)
        started = perf_counter()
        left @ right
        _wait(backbone.device)
        taken.append(perf_counter() - started)
    return 2.0 * size**3 / statistics.median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _clean(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _save(out: Path, found: dict[str, Any]) -> None:
    (out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
