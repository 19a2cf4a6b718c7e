"""Time what a user waits for first, each in a fresh process; weigh what a task takes on disk."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from clinprompt.prompts.artifact import Manifest, make_artifact
from clinprompt.prompts.decomposed import neutral_factors

HIDDEN = 576
LORA_NUMBERS = 921_600  # rank 8 on the attention projections of SmolLM2-135M
_IMPORT = "import torch, transformers.models.llama.modeling_llama"
_LOAD = "from clinprompt.backbone.load import load_backbone; b = load_backbone('smollm2-135m')"
_ANSWER = f"""{_LOAD}
import torch
from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate
from clinprompt.batches.encode import Row
with torch.no_grad():
    bank = make_bank(b.model, b.embeddings[None, :100])
generate(b, [Row(0, tuple(range(1000, 1060)))], bank, limits=[1], end_ids=(-1,))
"""
COMMANDS = {
    "clinprompt --help": [str(Path(sys.executable).with_name("clinprompt")), "--help"],
    "import torch and transformers": [sys.executable, "-c", _IMPORT],
    "load the backbone": [sys.executable, "-c", _LOAD],
    "load, read a prompt, give the first token": [sys.executable, "-c", _ANSWER],
}


def measure(*, repeats: int, length: int) -> dict[str, Any]:
    """Return the seconds of each command, and bytes a task."""
    seconds = {name: _seconds(words, repeats) for name, words in COMMANDS.items()}
    return {
        "repeats": repeats,
        "seconds": [{"what": name, "seconds": value} for name, value in seconds.items()],
        "bytes a task": [
            {"what": "factors", "bytes": _artifact_bytes("factors", length)},
            {"what": "own prompt", "bytes": _artifact_bytes("prompt", length)},
            {"what": "LoRA r = 8, float32", "bytes": 4 * LORA_NUMBERS},
        ],
    }


def _seconds(words: list[str], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        taken.append(perf_counter() - started)
    return statistics.median(taken)


def _artifact_bytes(kind: str, length: int) -> int:
    u, v = neutral_factors(
        1, length=length, hidden_size=HIDDEN, rank=1, generator=torch.Generator()
    )
    tensors = {
        "factors": {"u": u[0], "v": v[0]},
        "prompt": {"vectors": torch.ones(length, HIDDEN)},
    }[kind]
    manifest = Manifest(
        kind=kind,
        name="made",
        method="made",
        backbone="smollm2-135m",
        fingerprint="none",
        length=length,
        hidden_size=HIDDEN,
        rank=1 if kind == "factors" else 0,
        metaprompt="none" if kind == "factors" else "",
    )
    return make_artifact(manifest, tensors).num_bytes


if __name__ == "__main__":
    print(json.dumps(measure(repeats=5, length=100), indent=2))
