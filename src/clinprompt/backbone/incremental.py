"""Decode answers token by token, with a KV cache that is allocated once and filled in place.

Holds mutable state: the KV cache of the rows that are being decoded.

Axes: B rows, S stored positions, G key-value heads, D head size, H hidden size.
"""

from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from clinprompt.backbone.shared_prefix import Prefix, attention_masks, run


class IncrementalDecoder:
    """Decode the answers of several rows, each from its own earlier keys and values."""

    def __init__(self, model: PreTrainedModel, past: Prefix, *, max_new_tokens: int) -> None:
        """Start after ``past``, with space for ``max_new_tokens`` more tokens in each row."""
        self._model = model
        self._layers = [
            _PreallocatedLayer(keys, values, max_new_tokens) for keys, values in past.keys_values
        ]
        self._positions = _padded_copy(past.positions, dim=1, size=max_new_tokens)
        self._is_real = _padded_copy(past.is_real, dim=1, size=max_new_tokens)
        self._is_real[:, past.is_real.shape[1] :] = True
        self._next = past.is_real.sum(dim=1)
        self._length = past.positions.shape[1]

    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """Append one token to each row; return the hidden states that predict the next ones."""
        model, end = self._model, self._length + 1
        positions = self._next[:, None]
        self._positions[:, end - 1 : end] = positions
        embeds = model.get_input_embeddings()(tokens[:, None])
        keys, keys_are_real = self._positions[:, :end], self._is_real[:, :end]
        masks = attention_masks(model, positions, keys, keys_are_real, dtype=embeds.dtype)
        hidden = run(model, embeds, positions, masks, Cache(layers=self._layers))
        self._length, self._next = end, self._next + 1
        return hidden[:, -1]

    def keep_rows(self, rows: Int[Tensor, " b"]) -> None:
        """Continue with the given rows and drop all others."""
        for layer in self._layers:
            layer.keep_rows(rows)
        self._positions, self._is_real = self._positions[rows], self._is_real[rows]
        self._next = self._next[rows]


class _PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """The KV cache of one layer, allocated once and filled in place."""

    def __init__(self, keys: Tensor, values: Tensor, max_new_tokens: int) -> None:
        super().__init__()
        self._stored = [_padded_copy(part, dim=2, size=max_new_tokens) for part in (keys, values)]
        self._length = keys.shape[2]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._filled()

    def update(
        self,
        key_states: Float[Tensor, "B G n D"],
        value_states: Float[Tensor, "B G n D"],
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all keys and all values."""
        end = self._length + key_states.shape[2]
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, self._length : end] = new
        self._length = end
        return self._filled()

    def keep_rows(self, rows: Int[Tensor, " b"]) -> None:
        """Keep the given rows and drop all others."""
        self._stored = [stored[rows] for stored in self._stored]
        self._filled()

    def _filled(self) -> tuple[Tensor, Tensor]:
        """Set ``keys`` and ``values`` to the filled part of the cache and return them."""
        self.keys, self.values = (stored[:, :, : self._length] for stored in self._stored)
        return self.keys, self.values


def _padded_copy(tensor: Tensor, *, dim: int, size: int) -> Tensor:
    """Return a copy with ``size`` more zeros at the end of a dimension."""
    shape = list(tensor.shape)
    shape[dim] += size
    padded = tensor.new_zeros(shape)
    padded.narrow(dim, 0, tensor.shape[dim]).copy_(tensor)
    return padded
