"""Hold the prompts of several tasks, and run the model on rows of any mix of these tasks.

This is the only module that combines prompts with text. A prompt has one of three placements:

- ``prefix``, before the input: its keys and values are computed once for all rows of its task.
- ``layers``, keys and values in every layer: the prompt itself is these keys and values.
- ``suffix``, after the input: its keys and values depend on the row. Rows that start with the same
  tokens share the keys and values of these tokens, so a note is read once for all tasks.

Knows nothing of losses or training.

Axes: K tasks, P prompt positions, B rows, T text tokens, N target tokens, H hidden size,
V vocabulary, W width of a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from clinprompt.backbone.head import logits_of
from clinprompt.backbone.layers import prefix_from_layer_prompts
from clinprompt.backbone.packed import PackedRows, is_packable, pack_rows, read_packed
from clinprompt.backbone.shared_prefix import (
    KeysValues,
    Prefix,
    read_embeds,
    read_prompts,
    read_text,
)
from clinprompt.backbone.tensor_parallel import with_equal_gradients
from clinprompt.batches.encode import IGNORED, Batch, Row
from clinprompt.settings.groups import Placement


@dataclass(frozen=True, slots=True)
class Bank:
    """The prompts of K tasks, ready for the model.

    ``prefix`` has the keys and values of prompts before the input, ``suffix`` the vectors of
    prompts after the input. A bank with neither means that there is no prompt.
    """

    prefix: Prefix | None = None
    suffix: Float[Tensor, "K P H"] | None = None

    @property
    def keys_values(self) -> KeysValues:
        """Return the keys and values of each layer; empty unless the prompts come first."""
        return self.prefix.keys_values if self.prefix else ()

    @property
    def num_positions(self) -> int:
        """Return P, or 0 without a prompt."""
        if self.suffix is not None:
            return self.suffix.shape[1]
        return self.prefix.positions.shape[1] if self.prefix else 0


@dataclass(frozen=True, slots=True)
class TargetStates:
    """The model's predictions of the N target tokens of a batch.

    ``hidden`` is the last hidden state after the final norm, ``rows`` the batch row of each target
    token.
    """

    hidden: Float[Tensor, "N H"]
    logits: Float[Tensor, "N V"]
    labels: Int[Tensor, " N"]
    rows: Int[Tensor, " N"]


def make_bank(
    model: PreTrainedModel, prompts: Float[Tensor, "K P W"] | None, placement: Placement = "prefix"
) -> Bank:
    """Return a bank of the given prompts; gradients flow back to them.

    Their width W is the hidden size H or, for the placement ``layers``, the width of all keys and
    values of one position.
    """
    if prompts is None:
        return Bank()
    if placement == "layers":
        return Bank(prefix=prefix_from_layer_prompts(model, prompts))
    prompts = with_equal_gradients(model, prompts)
    if placement == "prefix":
        return Bank(prefix=read_prompts(model, prompts))
    return Bank(suffix=prompts.to(model.get_input_embeddings().weight.dtype))


@torch.no_grad()
def text_bank(model: PreTrainedModel, ids: Sequence[int]) -> Bank:
    """Return a bank that puts the same text before every row, such as few-shot examples."""
    return Bank(prefix=_read_shared_start(model, ids))


def target_states(
    model: PreTrainedModel,
    batch: Batch,
    bank: Bank,
    prompt_indices: Int[Tensor, " B"] | None = None,
) -> TargetStates:
    """Return hidden states and logits at the positions that predict a target token.

    ``prompt_indices`` gives the prompt of the bank for each row (default: the row's task). Rows are
    packed into one sequence if the model supports it, which avoids padding.
    """
    prompt_indices = batch.tasks if prompt_indices is None else prompt_indices
    rows, columns = torch.nonzero(batch.labels != IGNORED, as_tuple=True)
    embeds, shift = _embed_rows(model, batch, bank, prompt_indices)
    hidden, starts, _ = _read_rows(model, embeds, bank.prefix, prompt_indices)
    at_targets = hidden[starts[rows] + columns + shift - 1]
    labels = batch.labels[rows, columns]
    return TargetStates(at_targets, logits_of(model, at_targets), labels, rows)


def read_inputs(
    model: PreTrainedModel, rows: Sequence[Row], bank: Bank
) -> tuple[Float[Tensor, "B H"], Prefix]:
    """Run the model on the prompts and inputs of rows, without targets.

    Returns the hidden state that predicts the first answer token of each row, and the keys and
    values from which each row's answer continues.
    """
    device, embed = model.device, model.get_input_embeddings()
    past, past_indices = bank.prefix, [row.task for row in rows]
    num_shared = 0
    if bank.suffix is not None:
        num_shared = _num_shared_tokens(rows)
        past = _read_shared_start(model, rows[0].input_ids[:num_shared])
        past_indices = [0] * len(rows)
    lengths = [len(row.input_ids) - num_shared for row in rows]
    ids = [token for row in rows for token in row.input_ids[num_shared:]]
    embeds = embed(torch.tensor(ids, dtype=torch.long, device=device)).split(lengths)
    if bank.suffix is not None:
        tasks = torch.tensor([row.task for row in rows], device=device)
        pairs = zip(embeds, bank.suffix[tasks], strict=True)
        embeds = [torch.cat(pair) for pair in pairs]
    assert all(len(row) for row in embeds), "a row has no position to compute"
    indices = torch.tensor(past_indices, device=device)
    hidden, starts, extended = _read_rows(model, embeds, past, indices, keep=True)
    assert extended is not None
    ends = starts + torch.tensor([len(row) for row in embeds], device=device) - 1
    return hidden[ends], extended


def _num_shared_tokens(rows: Sequence[Row]) -> int:
    """Return the length of the longest start that all inputs share, in tokens."""
    columns = zip(*(row.input_ids for row in rows), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _read_shared_start(model: PreTrainedModel, ids: Sequence[int]) -> Prefix | None:
    """Return the keys and values of the tokens with which all rows start."""
    if not ids:
        return None
    tokens = torch.tensor([ids], device=model.device)
    return read_text(model, tokens, torch.ones_like(tokens, dtype=torch.bool), None)[1]


def _unpack_past(
    packed: PackedRows,
    past: Prefix | None,
    past_indices: Int[Tensor, " B"],
    lengths: Int[Tensor, " B"],
) -> Prefix:
    """Return the keys and values of packed rows as one padded row each."""
    first = packed.num_prompt_positions
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    is_own = columns < lengths[:, None]
    rows, places = torch.nonzero(is_own, as_tuple=True)
    assert packed.new_keys_values is not None
    layers = []
    for layer, own in enumerate(packed.new_keys_values):
        padded = []
        for which, tensor in enumerate(own):  # keys, then values
            heads, _, size = tensor.shape
            whole = tensor.new_zeros(len(lengths), heads, first + len(columns), size)
            if past:
                whole[:, :, :first] = past.keys_values[layer][which][past_indices]
            whole[rows, :, first + places] = tensor.transpose(0, 1)
            padded.append(whole)
        layers.append((padded[0], padded[1]))
    positions = torch.arange(first + len(columns), device=lengths.device)
    past_is_real = torch.ones(len(lengths), first, dtype=torch.bool, device=lengths.device)
    return Prefix(
        tuple(layers), positions.expand(len(lengths), -1), torch.cat([past_is_real, is_own], dim=1)
    )


def _embed_rows(
    model: PreTrainedModel, batch: Batch, bank: Bank, prompt_indices: Int[Tensor, " B"]
) -> tuple[list[Float[Tensor, "_t H"]], int]:
    """Return the embeddings of each row, with a suffix prompt between its input and its target.

    The second value is the number of positions by which the prompts shift the targets.
    """
    embed = model.get_input_embeddings()
    lengths = batch.attention_mask.sum(dim=1).tolist()
    texts = embed(batch.input_ids[batch.attention_mask]).split(lengths)
    if bank.suffix is None:
        return list(texts), 0
    num_inputs = (batch.attention_mask & (batch.labels == IGNORED)).sum(dim=1).tolist()
    prompts = bank.suffix[prompt_indices].unbind()
    with_prompts = [
        torch.cat([text[:first], prompt, text[first:]])
        for text, prompt, first in zip(texts, prompts, num_inputs, strict=True)
    ]
    return with_prompts, bank.suffix.shape[1]


def _read_rows(
    model: PreTrainedModel,
    embeds: Sequence[Float[Tensor, "_t H"]],
    past: Prefix | None,
    past_indices: Int[Tensor, " B"],
    *,
    keep: bool = False,
) -> tuple[Float[Tensor, "M H"], Int[Tensor, " B"], Prefix | None]:
    """Run the model on rows that continue ``past``, packed if the model supports it.

    ``past_indices`` gives the entry of ``past`` for each row. Returns the hidden states of all
    positions, the index of each row's first position among them and, with ``keep``, ``past``
    extended by the rows.
    """
    device = past_indices.device
    lengths = torch.tensor([len(row) for row in embeds], device=device)
    if is_packable(model):
        layers = past.keys_values if past else ()
        packed = pack_rows(lengths.tolist(), past_indices.tolist(), layers, device, keep=keep)
        hidden = read_packed(model, torch.cat(list(embeds)), packed)
        extended = _unpack_past(packed, past, past_indices, lengths) if keep else None
        return hidden, lengths.cumsum(dim=0) - lengths, extended
    padded, extended = _read_padded(model, embeds, past.select(past_indices) if past else None)
    starts = torch.arange(len(embeds), device=device) * padded.shape[1]
    return padded.flatten(0, 1), starts, extended


def _read_padded(
    model: PreTrainedModel, embeds: Sequence[Float[Tensor, "_t H"]], past: Prefix | None
) -> tuple[Float[Tensor, "B t H"], Prefix]:
    """Run the model on rows padded to one length."""
    lengths = torch.tensor([len(row) for row in embeds], device=embeds[0].device)
    padded = pad_sequence(list(embeds), batch_first=True)
    columns = torch.arange(padded.shape[1], device=lengths.device)
    is_real = columns < lengths[:, None]
    num_past = past.is_real.sum(dim=1, keepdim=True) if past else 0
    positions = torch.where(is_real, columns + num_past, 0)
    return read_embeds(model, padded, positions, is_real, past=past)
