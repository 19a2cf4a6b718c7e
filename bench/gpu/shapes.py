"""Time a training step at the true shapes of large backbones, and a decoding step as a CUDA graph.

Weights are random and made on the device in bfloat16: the cost of a step does not depend on them.
Knows nothing of sessions.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic, perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the steps of other benches

from gpu import (
    GPT_OSS_20B,
    LLAMA_8B,
    TINY,
    TINY_STEP,
    StepSize,
    drawn_rows,
    random_backbone,
    timed,
)
from methods import METHODS, Shape

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import write
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.shared_prefix import Prefix, attention_masks, read_embeds, run
from clinprompt.batches.encode import Row

BACKBONES = {"llama-8b": LLAMA_8B, "gpt-oss-20b": GPT_OSS_20B}
METHODS_TIMED = ("clinprompt, metaprompt", "clinprompt, metaprompt in every layer")
MICRO_BATCHES = (2048, 4096, 8192, 16_384, 32_768)  # tokens, from the smallest
DECODED_ROWS, STORED, NEW_TOKENS = 64, 300, 32
WORTH_IT = 1.5  # a graph pays if a step without it takes at least this many times as long


def time_steps(name: str, device: str, seconds: float, *, is_tiny: bool) -> dict[str, Any]:
    """Return time and peak memory of a step for each size of micro-batch that fits.

    Sizes are tried from the smallest until the memory is used up or ``seconds`` are over.
    """
    ends, config = monotonic() + seconds, BACKBONES[name]
    step = TINY_STEP if is_tiny else StepSize(timed=3)
    sizes = (128, 256) if is_tiny else MICRO_BATCHES
    if is_tiny:
        config.update(TINY)
        config.update({"layer_types": config.layer_types[:2]} if "oss" in name else {})
    backbone = random_backbone(config, torch.device(device))
    rows = [drawn_rows(seed, step) for seed in range(step.timed + 1)]
    found: dict[str, Any] = {"rows": step.rows, "tokens": sum(map(len, rows[1]))}
    found["weights, GB"] = sum(one.nbytes for one in backbone.model.parameters()) / 1e9
    for method in METHODS_TIMED:
        for size in sizes:
            if monotonic() > ends:
                return found | {"stopped": f"after {seconds:.0f} s"}
            shape = Shape(step.length, 4, micro_batch_tokens=size)
            found[f"{method}, {size} tokens at a time"] = own = _fitting(
                lambda shape=shape, method=method: timed(
                    METHODS[method](backbone, shape), rows, backbone.device
                )
            )
            if "does not fit" in own:
                break
    return found


def _fitting(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a measurement, or say that the memory was not enough."""
    try:
        return measure()
    except torch.OutOfMemoryError as error:
        return {"does not fit": str(error).split(". ")[0]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


# Decoding


class _FixedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of fixed size whose last position is written again in each step."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys.clone(), values.clone()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> Any:  # noqa: ANN401
        """Write the last position; return all keys and all values."""
        self.keys[:, :, -1:], self.values[:, :, -1:] = keys, values
        return self.keys, self.values


@torch.inference_mode()
def time_decoding(backbone: Backbone, *, is_tiny: bool) -> dict[str, Any]:
    """Return milliseconds of a decoding step of many rows, in four ways.

    As it is: all that ``write`` does for one more token. The model alone at a fixed length. The
    head in float32, which ``write`` calls too. And the model alone as a CUDA graph.
    """
    rows, stored, tokens = (4, 20, 4) if is_tiny else (DECODED_ROWS, STORED, NEW_TOKENS)
    found: dict[str, Any] = {"rows": rows, "stored positions": stored}
    whole = [_write_seconds(backbone, rows, stored, count) for count in (1, 1 + tokens) * 3]
    found["as it is"] = (
        1000 * median(b - a for a, b in zip(whole[::2], whole[1::2], strict=True)) / tokens
    )
    past = _random_past(backbone, rows, stored)
    ids = torch.ones(rows, dtype=torch.long, device=backbone.device)
    head = float32_head(backbone.model)
    step = _fixed_step(backbone, past, ids)
    hidden = step()
    found["fixed length"] = _milliseconds(step, backbone, tokens)
    found["head in float32"] = _milliseconds(lambda: head(hidden), backbone, tokens)
    if backbone.device.type != "cuda":
        return found | {"CUDA graph": "left out: no GPU"}
    found["CUDA graph"] = graph = _milliseconds(_captured(step).replay, backbone, tokens)
    with_graph = found["as it is"] - found["fixed length"] + graph
    found["as it is, with a graph (estimate)"] = with_graph
    found["would pay"] = found["as it is"] >= WORTH_IT * with_graph
    return found


def _write_seconds(backbone: Backbone, rows: int, stored: int, tokens: int) -> float:
    """Return the time to read random rows and to write a number of tokens to each."""
    draw = Random(0)
    taken = [
        Row(0, tuple(draw.choices(range(backbone.vocabulary_size), k=stored))) for _ in range(rows)
    ]
    _wait(backbone)
    started = perf_counter()
    write(backbone, taken, Bank(), limits=[tokens] * rows, end_ids=(), constraints=[None] * rows)
    _wait(backbone)
    return perf_counter() - started


def _random_past(backbone: Backbone, rows: int, stored: int) -> Prefix:
    embed, device = backbone.model.get_input_embeddings(), backbone.device
    ids = torch.randint(0, backbone.vocabulary_size, (rows, stored), device=device)
    positions = torch.arange(stored, device=device).expand(rows, -1)
    is_real = torch.ones_like(positions, dtype=torch.bool)
    return read_embeds(backbone.model, embed(ids), positions, is_real, past=None)[1]


def _fixed_step(backbone: Backbone, past: Prefix, ids: Tensor) -> Callable[[], Tensor]:
    """Return a step whose tensors keep their shapes and places, as a CUDA graph needs it."""
    model, last = backbone.model, past.positions[:, -1:]
    cache = Cache(layers=[_FixedLayer(*layer) for layer in past.keys_values])
    dtype = model.get_input_embeddings().weight.dtype
    masks = attention_masks(model, last, past.positions, past.is_real, dtype=dtype)

    def step() -> Tensor:
        embeds = model.get_input_embeddings()(ids[:, None])
        return run(model, embeds, last, masks, cache)[:, -1]

    return step


def _captured(step: Callable[[], Tensor]) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def _milliseconds(step: Callable[[], Any], backbone: Backbone, count: int) -> float:
    """Return the median time of a step over three series, after a first step."""
    step()
    series: Sequence[float] = [_seconds(step, backbone, max(1, count // 2)) for _ in range(3)]
    return 1000 * median(series)


def _seconds(step: Callable[[], Any], backbone: Backbone, count: int) -> float:
    _wait(backbone)
    started = perf_counter()
    for _ in range(count):
        step()
    _wait(backbone)
    return (perf_counter() - started) / count


def _wait(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()
