"""Hold the keys and values of all rows that are being decoded; rows join and leave at any time.

Holds mutable state: one block of keys and one of values for each layer. A row owns one line of
each, filled from the left: the position of a key is its place in the line. Unused places are
zeros or keys of rows that have left; no query sees them, because their positions are later.

Axes: B rows, S stored positions, C capacity of a line in positions, G key-value heads, D head
size, H hidden size.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from clinprompt.backbone.shared_prefix import Prefix, attention_masks, run

_ROUNDING = 64  # capacities are multiples of it, so that rows of similar lengths share a layout


class Arena:
    """The keys and values of the rows being decoded, at most ``max_positions`` of each layer.

    A row that needs more than ``max_positions`` by itself is admitted if there is no other.
    """

    def __init__(self, model: PreTrainedModel, *, max_positions: int) -> None:
        self._model, self._max_positions = model, max_positions
        self._layers: list[_Layer] = []
        self._needs: list[int] = []
        self._lengths: list[int] = []

    @property
    def num_rows(self) -> int:
        """Return the number of rows being decoded."""
        return len(self._needs)

    @property
    def num_free(self) -> int:
        """Return the number of positions that no row has reserved."""
        return num_free(self._needs, self._max_positions)

    def has_space_for(self, needs: Sequence[int]) -> bool:
        """Return whether rows that need these numbers of positions can be admitted together."""
        return fits([*self._needs, *needs], self._max_positions)

    def admit(self, past: Prefix, lengths: Sequence[int], needs: Sequence[int]) -> None:
        """Add rows after those present, with the keys and values of ``past`` (padded right).

        ``lengths`` are their numbers of stored positions, ``needs`` those that they may grow to.
        """
        first = self.num_rows
        self._make_space(past, [*self._needs, *needs])
        for layer, (keys, values) in zip(self._layers, past.keys_values, strict=True):
            layer.write(first, keys, values, lengths)
        self._needs += needs
        self._lengths += lengths

    def step(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """Append one token to each row; return the hidden states that predict the next ones."""
        model, device = self._model, tokens.device
        ends = torch.tensor(self._lengths, device=device)
        columns = torch.arange(max(self._lengths) + 1, device=device).expand(len(ends), -1)
        for layer in self._layers:
            layer.expect(ends, columns.shape[1])
        embeds = model.get_input_embeddings()(tokens[:, None])
        is_real = torch.ones_like(columns, dtype=torch.bool)
        masks = attention_masks(model, ends[:, None], columns, is_real, dtype=embeds.dtype)
        hidden = run(model, embeds, ends[:, None], masks, Cache(layers=self._layers))
        self._lengths = [length + 1 for length in self._lengths]
        return hidden[:, -1]

    def drop(self, leaving: Collection[int]) -> list[int]:
        """Remove rows by number; return the numbers, as of before, of the rows left, in order.

        Rows from the end move to the free lines, so that little is copied.
        """
        order = list(range(self.num_rows))
        for place in sorted(leaving, reverse=True):
            last = len(order) - 1
            if place != last:
                for layer in self._layers:
                    layer.move(last, place, self._lengths[order[last]])
            order[place] = order[last]
            order.pop()
        self._needs = [self._needs[number] for number in order]
        self._lengths = [self._lengths[number] for number in order]
        return order

    def _make_space(self, past: Prefix, needs: Sequence[int]) -> None:
        """Allocate new blocks if there are too few lines, or if the lines are too short."""
        capacity = _capacity(needs)
        lines = self._layers[0].shape[0] if self._layers else 0
        if self._layers and len(needs) <= lines and capacity <= self._layers[0].shape[1]:
            return
        most = max(self._max_positions // capacity, len(needs))
        lines = max(len(needs), min(2 * lines, most))
        if not self._layers:
            self._layers = [_Layer(keys, values) for keys, values in past.keys_values]
        for layer in self._layers:
            layer.lay_out(lines, capacity, self._lengths)


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """The keys and values of one layer of the model, [lines, G, C, D] each."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._blocks = [part[:0, :, :0] for part in (keys, values)]
        self._ends = torch.zeros(0, dtype=torch.long)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of lines and the capacity of each, in positions."""
        return self._blocks[0].shape[0], self._blocks[0].shape[2]

    def lay_out(self, lines: int, capacity: int, lengths: Sequence[int]) -> None:
        """Change the number of lines and their capacity; keep the first ``lengths`` of rows."""
        for number, old in enumerate(self._blocks):
            new = old.new_zeros(lines, old.shape[1], capacity, old.shape[3])
            if lengths:
                width = max(lengths)
                new[: len(lengths), :, :width] = old[: len(lengths), :, :width]
            self._blocks[number] = new

    def write(self, first: int, keys: Tensor, values: Tensor, lengths: Sequence[int]) -> None:
        """Write the keys and values of rows into the lines from ``first`` on."""
        width = max(lengths)
        for block, new in zip(self._blocks, (keys, values), strict=True):
            block[first : first + len(lengths), :, :width] = new[:, :, :width]

    def move(self, origin: int, place: int, length: int) -> None:
        """Copy the first ``length`` positions of a line over another line."""
        for block in self._blocks:
            block[place, :, :length] = block[origin, :, :length]

    def expect(self, ends: Int[Tensor, " B"], width: int) -> None:
        """Say where the next keys and values of each row go, and how much of a line is read."""
        self._ends = ends
        self.keys, self.values = (block[: len(ends), :, :width] for block in self._blocks)

    def update(
        self,
        key_states: Float[Tensor, "B G 1 D"],
        value_states: Float[Tensor, "B G 1 D"],
        *_: object,
        **__: object,
    ) -> tuple[Float[Tensor, "B G S D"], Float[Tensor, "B G S D"]]:
        """Write one position of each row; return all keys and all values."""
        rows = torch.arange(len(self._ends), device=self._ends.device)
        for block, new in zip(self._blocks, (key_states, value_states), strict=True):
            block[rows, :, self._ends] = new[:, :, 0]
        return self.keys, self.values


def num_free(needs: Sequence[int], max_positions: int) -> int:
    """Return the number of positions left by rows that need these numbers of positions."""
    return max_positions - len(needs) * _capacity(needs)


def fits(needs: Sequence[int], max_positions: int) -> bool:
    """Return whether rows that need these numbers of positions fit; a single one always does."""
    return len(needs) == 1 or num_free(needs, max_positions) >= 0


def _capacity(needs: Sequence[int]) -> int:
    """Return the capacity of lines for rows that need these numbers of positions."""
    return -(-max(needs, default=0) // _ROUNDING) * _ROUNDING
