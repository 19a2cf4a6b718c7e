"""Time reading and writing in float32, bfloat16 and with 8-bit integers, on this processor.

Run: python bench/dtypes.py

Reading is limited by arithmetic, and so is writing for many rows; writing for one row is limited by
reading all weights from memory. Which type pays depends on the instructions of the processor:
bfloat16 needs AVX512-BF16 or AMX, integers gain from VNNI. Integers are PyTorch's dynamic
quantization of all linear layers except the head: weights and activations of 8 bits. Other types
may give other answers, so the bench counts the requests of ``bench/serve.py`` that keep theirs.

Writes docs/results/bench/dtypes.json and dtypes.md. Ratios are medians over turns in one process.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import torch
from serve_requests import answer_offline, is_same, mixed_requests, shipped_store
from torch import nn

from clinprompt.backbone.arena import Arena
from clinprompt.backbone.bank import Bank, make_bank, read_inputs
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.batches.encode import Row
from clinprompt.jobs.task_table import load_tasks
from clinprompt.prompts.initializers import from_vocabulary

ROW_TOKENS = 64
READ_ROWS = 16  # 1,024 tokens, as many as a step reads
WRITTEN_ROWS = (1, 16, 64)
PROMPT_POSITIONS = 20
BASE = "float32"


def main() -> None:
    """Measure and write."""
    from run import add  # noqa: PLC0415 - loads all other benches

    add("dtypes", "reading and writing by type", measure(turns=9, requests=120))


def measure(*, turns: int, requests: int, name: str = "smollm2-135m") -> dict[str, Any]:
    """Return tokens a second of each type, and the ratio of its seconds to those in float32."""
    backbones = _backbones(name)
    rows = make_rows(backbones[BASE], max(READ_ROWS, *WRITTEN_ROWS))
    works = {f"read {READ_ROWS} rows": (READ_ROWS * ROW_TOKENS, reader(rows[:READ_ROWS]))}
    works |= {f"write {n} rows": (n, writer(rows[:n])) for n in WRITTEN_ROWS}
    return {
        "backbone": name,
        "threads": torch.get_num_threads(),
        "instructions": _instructions(),
        "prompt positions": PROMPT_POSITIONS,
        "tokens a row": ROW_TOKENS,
        **{
            work: _compared(backbones, make, tokens=tokens, turns=turns)
            for work, (tokens, make) in works.items()
        },
        f"answers to {requests} requests": _answers(backbones, requests),
    }


def _backbones(name: str) -> dict[str, Backbone]:
    """Return a copy of the model for each type; the weights of all have the same values."""
    plain = load_backbone(name, device="cpu")
    half = load_backbone(name, device="cpu", dtype=torch.bfloat16)
    model = deepcopy(plain.model)
    layers = torch.ao.quantization.quantize_dynamic(model.base_model, {nn.Linear}, torch.qint8)
    setattr(model, model.base_model_prefix, layers)
    return {BASE: plain, "bfloat16": half, "8-bit integers": replace(plain, model=model)}


def _instructions() -> str:
    known = {
        "AVX2": torch.cpu._is_avx2_supported,
        "AVX-512": torch.cpu._is_avx512_supported,
        "VNNI": torch.cpu._is_vnni_supported,
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported,
        "AMX": torch.cpu._is_amx_tile_supported,
    }
    return ", ".join(name for name, has in known.items() if has())


def make_rows(backbone: Backbone, number: int) -> list[Row]:
    """Return rows of random tokens."""
    draw = Random(0)
    size = backbone.vocabulary_size
    return [
        Row(0, tuple(draw.randrange(size) for _ in range(ROW_TOKENS)), ()) for _ in range(number)
    ]


def _bank(backbone: Backbone) -> Bank:
    generator = torch.Generator().manual_seed(0)
    vectors = from_vocabulary(
        backbone.embeddings.float(), length=PROMPT_POSITIONS, generator=generator
    )
    return make_bank(backbone.model, vectors[None])


def _answers(backbones: dict[str, Backbone], requests: int) -> list[dict[str, Any]]:
    """Count the requests that each type answers as float32 does; probabilities do not count."""
    with tempfile.TemporaryDirectory() as folder:
        store = shipped_store(Path(folder) / "made")
        tables = {kind: load_tasks(one, store) for kind, one in backbones.items()}
        asked = mixed_requests(tables[BASE], requests)
        answered = {
            kind: answer_offline(one, tables[kind], asked) for kind, one in backbones.items()
        }
    expected = answered[BASE]
    return [
        {
            "what": kind,
            "same answer": sum(is_same(own[m].values, one) for m, one in expected.items()),
        }
        for kind, own in answered.items()
    ]


Work = Callable[[], object]


def reader(rows: Sequence[Row]) -> Callable[[Backbone], Work]:
    """Return a function that makes the work of reading rows."""

    def make(backbone: Backbone) -> Work:
        bank = _bank(backbone)
        return lambda: read_inputs(backbone.model, rows, bank)

    return make


def writer(rows: Sequence[Row]) -> Callable[[Backbone], Work]:
    """Return a function that makes the work of writing one token of each row, with its logits."""

    def make(backbone: Backbone) -> Work:
        model, head = backbone.model, float32_head(backbone.model)
        _, past = read_inputs(model, rows, _bank(backbone))
        lengths = [PROMPT_POSITIONS + ROW_TOKENS] * len(rows)
        arena = Arena(model, max_positions=2**20)
        arena.admit(past, lengths, [length + 256 for length in lengths])
        tokens = torch.zeros(len(rows), dtype=torch.long)
        return lambda: head(arena.step(tokens))

    return make


@torch.inference_mode()
def _compared(
    backbones: dict[str, Backbone],
    make: Callable[[Backbone], Work],
    *,
    tokens: int,
    turns: int,
) -> list[dict[str, Any]]:
    seconds = take_turns({kind: make(one) for kind, one in backbones.items()}, turns)
    return compared(seconds, tokens=tokens)


def take_turns(works: dict[str, Work], turns: int) -> dict[str, list[float]]:
    """Do all works in turns; return the seconds of each, without those of a first turn."""
    seconds: dict[str, list[float]] = {kind: [] for kind in works}
    for turn in range(-1, turns):
        for kind, work in works.items():
            started = perf_counter()
            work()
            if turn >= 0:
                seconds[kind].append(perf_counter() - started)
    return seconds


def compared(seconds: dict[str, list[float]], *, tokens: int) -> list[dict[str, Any]]:
    """Return a row for each work; ratios are medians over turns, below 1 if faster than the first.

    ``tokens`` is the number that each turn reads or writes.
    """
    first = next(iter(seconds.values()))
    return [
        {
            "what": kind,
            "tokens a second": tokens / statistics.median(own),
            "ratio of seconds": statistics.median(a / b for a, b in zip(own, first, strict=True)),
        }
        for kind, own in seconds.items()
    ]


if __name__ == "__main__":
    main()
