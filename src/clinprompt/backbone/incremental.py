"""Write answers token by token: keys and values with room for what is to come, filled in place.

Owns changing state: the past of the rows that are being written.

Axes: B rows, S stored positions, G key-value heads, D head size, H hidden size.
"""

from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from clinprompt.backbone.shared_prefix import Prefix, cache_argument, masks


class IncrementalDecoder:
    """Rows whose answers are being written, each from its own past."""

    def __init__(self, model: PreTrainedModel, past: Prefix, *, room: int) -> None:
        """Begin after ``past``; at most ``room`` tokens may follow."""
        self._model = model
        self._layers = [_RoomyLayer(keys, values, room) for keys, values in past.keys_values]
        self._positions = _widened(past.positions, 1, room)
        self._is_real = _widened(past.is_real, 1, room)
        self._is_real[:, past.is_real.shape[1] :] = True
        self._next = past.is_real.sum(dim=1)
        self._length = past.positions.shape[1]

    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """Append one token to each row; return the hidden states that predict the next ones."""
        model, end = self._model, self._length + 1
        positions = self._next[:, None]
        self._positions[:, end - 1 : end] = positions
        embeds = model.get_input_embeddings()(tokens[:, None])
        output = model.base_model(
            inputs_embeds=embeds,
            attention_mask=masks(
                model,
                positions,
                self._positions[:, :end],
                self._is_real[:, :end],
                dtype=embeds.dtype,
            ),
            position_ids=positions,
            **cache_argument(model, Cache(layers=self._layers)),
            use_cache=True,
        )
        self._length, self._next = end, self._next + 1
        states: Tensor = output.last_hidden_state[:, -1]
        return states

    def keep_rows(self, rows: Int[Tensor, " b"]) -> None:
        """Go on with some of the rows only."""
        for layer in self._layers:
            layer.keep_rows(rows)
        self._positions, self._is_real = self._positions[rows], self._is_real[rows]
        self._next = self._next[rows]


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer, written into a place made once."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self._stored = [_widened(keys, 2, room), _widened(values, 2, room)]
        self._length = keys.shape[2]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._show()

    def update(
        self,
        key_states: Float[Tensor, "B G n D"],
        value_states: Float[Tensor, "B G n D"],
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all there are."""
        end = self._length + key_states.shape[2]
        for stored, new in zip(self._stored, (key_states, value_states), strict=True):
            stored[:, :, self._length : end] = new
        self._length = end
        return self._show()

    def keep_rows(self, rows: Int[Tensor, " b"]) -> None:
        """Drop all other rows."""
        self._stored = [stored[rows] for stored in self._stored]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (stored[:, :, : self._length] for stored in self._stored)
        return self.keys, self.values


def _widened(tensor: Tensor, dim: int, room: int) -> Tensor:
    """Return a copy with ``room`` more places along a dimension."""
    shape = list(tensor.shape)
    shape[dim] += room
    wide = tensor.new_zeros(shape)
    wide.narrow(dim, 0, tensor.shape[dim]).copy_(tensor)
    return wide
