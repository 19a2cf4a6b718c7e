"""Pack weights as gpt-oss checkpoints have them: MXFP4, 32 values in 16 bytes under one scale.

A value is one of 16 (4 bits: a sign, then 0, 0.5, 1, 1.5, 2, 3, 4 or 6) times two to the power of
its block's scale, less 127. The first of two values stands in the low half of a byte. Weights
[E, in, out] are stored as [E, out, in / 32, 16] (OCP Microscaling Formats, version 1.0).
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

MAGNITUDES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_BLOCK = 32


def quantize_experts(folder: Path, rounded: Path) -> None:
    """Pack a saved gpt-oss's expert weights, and save a float twin with the values they stand for.

    ``rounded`` is a copy of ``folder``.
    """
    tensors = load_file(folder / "model.safetensors")
    packed, twin = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        if name.endswith((".gate_up_proj", ".down_proj")):
            blocks, scales = pack(weight)
            del packed[name]
            packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            twin[name] = unpack(blocks, scales)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(twin, rounded / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
    }
    path.write_text(json.dumps(config))


def pack(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return blocks [E, out, in / 32, 16] and scales [E, out, in / 32] of weights [E, in, out]."""
    values = weight.transpose(1, 2).unflatten(2, (-1, _BLOCK))
    largest = values.abs().amax(dim=-1).clamp(min=2.0**-100)
    exponents = largest.log2().floor() - 2  # 6 is 1.5 times two to the second power
    scaled = values / exponents.exp2()[..., None]
    nearest = (scaled.abs()[..., None] - MAGNITUDES).abs().argmin(dim=-1)
    codes = (nearest + 8 * (scaled < 0)).to(torch.uint8)
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return blocks.contiguous(), (exponents + 127).to(torch.uint8)


def unpack(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the weights [E, in, out] that blocks and scales stand for."""
    codes = torch.stack([blocks % 16, blocks // 16], dim=-1).flatten(-2).long()
    signs = 1.0 - 2.0 * (codes >= 8)
    values = signs * MAGNITUDES[codes % 8] * (2.0 ** (scales.float() - 127))[..., None]
    return values.flatten(-2).transpose(1, 2).contiguous()
