"""Run the frozen model on text that continues stored keys and values: of prompts, notes, answers.

The backbone is frozen and attention is causal, so the keys and values of a prompt before the input
depend only on the task. One step over B rows of K tasks therefore computes K·P + ΣT positions
instead of B·P + ΣT. Knows nothing of losses, tasks or training.

Axes: K tasks, P prompt positions, B rows, T text tokens, H hidden size, S stored positions,
G key-value heads, D head size.
"""

import inspect
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

KeysValues = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and values of S earlier positions, each [B, G, S, D] in each layer.

    ``positions`` are their rotary positions; ``is_real`` is False at padding.
    """

    keys_values: KeysValues
    positions: Int[Tensor, "B S"]
    is_real: Bool[Tensor, "B S"]

    def select(self, rows: Int[Tensor, " n"]) -> "Prefix":
        """Return the given rows in the given order; a row may occur more than once."""
        layers = tuple((keys[rows], values[rows]) for keys, values in self.keys_values)
        return Prefix(layers, self.positions[rows], self.is_real[rows])


def read_prompts(model: PreTrainedModel, prompts: Float[Tensor, "K P H"]) -> Prefix:
    """Compute the keys and values of K prompts; gradients flow back to the prompts."""
    num_tasks, length, _ = prompts.shape
    positions = torch.arange(length, device=prompts.device).expand(num_tasks, length)
    is_real = torch.ones_like(positions, dtype=torch.bool)
    embeds = prompts.to(model.get_input_embeddings().weight.dtype)
    _, prefix = read_embeds(model, embeds, positions, is_real, past=None)
    return prefix


def read_text(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "B T"],
    is_real: Bool[Tensor, "B T"],
    past: Prefix | None,
) -> tuple[Float[Tensor, "B T H"], Prefix]:
    """Continue ``past`` with text, row by row; return hidden states and the new past."""
    positions = torch.cumsum(is_real, dim=1) - 1
    if past is not None:
        positions = positions + past.is_real.sum(dim=1, keepdim=True)
    embeds = model.get_input_embeddings()(input_ids)
    return read_embeds(model, embeds, positions.clamp(min=0), is_real, past=past)


def read_embeds(
    model: PreTrainedModel,
    embeds: Float[Tensor, "B T H"],
    positions: Int[Tensor, "B T"],
    is_real: Bool[Tensor, "B T"],
    *,
    past: Prefix | None,
) -> tuple[Float[Tensor, "B T H"], Prefix]:
    """Continue ``past`` with embeddings; return hidden states and the new past."""
    cache = Cache(layers=[_Layer(*layer) for layer in past.keys_values]) if past else DynamicCache()
    all_positions = torch.cat([past.positions, positions], dim=1) if past else positions
    all_real = torch.cat([past.is_real, is_real], dim=1) if past else is_real
    masks = attention_masks(model, positions, all_positions, all_real, dtype=embeds.dtype)
    hidden = run(model, embeds, positions, masks, cache)
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    return hidden, Prefix(layers, all_positions, all_real)


def run(
    model: PreTrainedModel,
    embeds: Float[Tensor, "B T H"],
    positions: Int[Tensor, "B T"],
    masks: Tensor | dict[str, Tensor],
    cache: Cache,
) -> Float[Tensor, "B T H"]:
    """Run the model on embeddings and add their keys and values to the cache."""
    is_new = "cache" in inspect.signature(model.base_model.forward).parameters
    hidden: Tensor = model.base_model(
        inputs_embeds=embeds,
        attention_mask=masks,
        position_ids=positions,
        use_cache=True,
        **{"cache" if is_new else "past_key_values": cache},  # renamed in transformers 5.24
    ).last_hidden_state
    return hidden


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """The stored keys and values of one layer."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True


def attention_masks(
    model: PreTrainedModel,
    queries: Int[Tensor, "B T"],
    keys: Int[Tensor, "B S"],
    keys_are_real: Bool[Tensor, "B S"],
    *,
    dtype: torch.dtype,
) -> Tensor | dict[str, Tensor]:
    """Return additive causal attention masks, one for each kind of layer.

    They compare positions and not places in storage, so padding between the parts of a row does no
    harm.
    """
    distance = queries[:, None, :, None] - keys[:, None, None, :]
    visible = (distance >= 0) & keys_are_real[:, None, None, :]
    config = model.config
    window: int | None = getattr(config, "sliding_window", None)
    full = _additive(visible, dtype)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return full if window is None else _additive(visible & (distance < window), dtype)
    by_kind = {"full_attention": full}
    if "sliding_attention" in kinds:
        assert window is not None
        by_kind["sliding_attention"] = _additive(visible & (distance < window), dtype)
    return by_kind


def _additive(visible: Bool[Tensor, "B 1 T S"], dtype: torch.dtype) -> Float[Tensor, "B 1 T S"]:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(dtype).min)
