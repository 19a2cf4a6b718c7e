"""Keep the prompts of several tasks ready, and read rows of any mixture of them under theirs.

The only place where a prompt meets text. In front (``prefix``), a prompt's keys and values are
computed once for all rows of its task; in every layer (``layers``), they are the prompt. Behind the
input (``suffix``), where they depend on the row, rows that begin alike share what they begin with:
a note is read once for all tasks.
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

from clinprompt.backbone.layers import prefix_from_layer_prompts
from clinprompt.backbone.packed import PackedRows, is_packable, pack_rows, read_packed
from clinprompt.backbone.shared_prefix import (
    KeysValues,
    Prefix,
    logits_of,
    read_embeds,
    read_prompts,
    read_text,
)
from clinprompt.batches.encode import IGNORED, Batch, Row
from clinprompt.settings.groups import Placement


@dataclass(frozen=True, slots=True)
class Bank:
    """The prompts of K tasks: keys and values where they go in front, vectors where behind.

    An empty bank is no prompt at all.
    """

    prefix: Prefix | None = None
    suffix: Float[Tensor, "K P H"] | None = None

    @property
    def keys_values(self) -> KeysValues:
        """Return the prompts' keys and values, layer by layer (none, unless they go in front)."""
        return self.prefix.keys_values if self.prefix else ()

    @property
    def num_positions(self) -> int:
        """Return P (0 where there is no prompt)."""
        if self.suffix is not None:
            return self.suffix.shape[1]
        return self.prefix.positions.shape[1] if self.prefix else 0


@dataclass(frozen=True, slots=True)
class TargetStates:
    """What the model says where a target token is due: one entry a target token of a batch.

    ``hidden`` is the last hidden state after the final norm, ``rows`` the batch row of each entry.
    """

    hidden: Float[Tensor, "N H"]
    logits: Float[Tensor, "N V"]
    labels: Int[Tensor, " N"]
    rows: Int[Tensor, " N"]


def make_bank(
    model: PreTrainedModel, prompts: Float[Tensor, "K P W"] | None, placement: Placement = "prefix"
) -> Bank:
    """Return prompts ready to be read with rows; gradients flow back to them.

    Prompts have the width H of embeddings, or in ``layers`` that of all keys and values.
    """
    if prompts is None:
        return Bank()
    if placement == "layers":
        return Bank(prefix=prefix_from_layer_prompts(model, prompts))
    if placement == "prefix":
        return Bank(prefix=read_prompts(model, prompts))
    return Bank(suffix=prompts.to(model.get_input_embeddings().weight.dtype))


@torch.no_grad()
def text_bank(model: PreTrainedModel, ids: Sequence[int]) -> Bank:
    """Return plain text in front of every row, read once: examples for a model to go by."""
    return Bank(prefix=_read_note(model, ids))


def target_states(
    model: PreTrainedModel, batch: Batch, bank: Bank, owners: Int[Tensor, " B"] | None = None
) -> TargetStates:
    """Return hidden states and logits at the positions that predict a target token.

    ``owners`` tells which prompt of the bank each row goes with (the one of its task, if not
    given). Rows are packed where the model allows it, so padding costs nothing.
    """
    owners = batch.tasks if owners is None else owners
    rows, columns = torch.nonzero(batch.labels != IGNORED, as_tuple=True)
    embeds, num_behind = _embedded(model, batch, bank, owners)
    hidden, starts, _ = _read_rows(model, embeds, bank.prefix, owners)
    at_targets = hidden[starts[rows] + columns + num_behind - 1]
    labels = batch.labels[rows, columns]
    return TargetStates(at_targets, logits_of(model, at_targets), labels, rows)


def read_inputs(
    model: PreTrainedModel, rows: Sequence[Row], bank: Bank
) -> tuple[Float[Tensor, "B H"], Prefix]:
    """Read the inputs of rows under their prompts, without targets.

    Returns the hidden state that predicts the first answer token of each row, and the past that
    each row's answer continues.
    """
    device, embed = model.device, model.get_input_embeddings()
    before, owners = bank.prefix, [row.task for row in rows]
    num_shared = 0
    if bank.suffix is not None:
        num_shared = _num_shared(rows)
        before, owners = _read_note(model, rows[0].input_ids[:num_shared]), [0] * len(rows)
    lengths = [len(row.input_ids) - num_shared for row in rows]
    ids = [token for row in rows for token in row.input_ids[num_shared:]]
    embeds = embed(torch.tensor(ids, dtype=torch.long, device=device)).split(lengths)
    if bank.suffix is not None:
        tasks = torch.tensor([row.task for row in rows], device=device)
        pairs = zip(embeds, bank.suffix[tasks], strict=True)
        embeds = [torch.cat(pair) for pair in pairs]
    assert all(len(row) for row in embeds), "a row has nothing to read"
    whose = torch.tensor(owners, device=device)
    hidden, starts, past = _read_rows(model, embeds, before, whose, keep=True)
    assert past is not None
    ends = starts + torch.tensor([len(row) for row in embeds], device=device) - 1
    return hidden[ends], past


def _num_shared(rows: Sequence[Row]) -> int:
    """Return how many tokens all rows begin with."""
    columns = zip(*(row.input_ids for row in rows), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _read_note(model: PreTrainedModel, ids: Sequence[int]) -> Prefix | None:
    """Return the keys and values of what several rows begin with, read once."""
    if not ids:
        return None
    note = torch.tensor([ids], device=model.device)
    return read_text(model, note, torch.ones_like(note, dtype=torch.bool), None)[1]


def _unpacked(
    pack: PackedRows, before: Prefix | None, owners: Int[Tensor, " B"], lengths: Int[Tensor, " B"]
) -> Prefix:
    """Return the past of packed rows, each in a row of its own, padded."""
    first = pack.num_prompt_positions
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    is_own = columns < lengths[:, None]
    rows, places = torch.nonzero(is_own, as_tuple=True)
    assert pack.kept is not None
    layers = []
    for number, own in enumerate(pack.kept):
        padded = []
        for which, tensor in enumerate(own):
            heads, _, size = tensor.shape
            whole = tensor.new_zeros(len(lengths), heads, first + len(columns), size)
            if before:
                whole[:, :, :first] = before.keys_values[number][which][owners]
            whole[rows, :, first + places] = tensor.transpose(0, 1)
            padded.append(whole)
        layers.append((padded[0], padded[1]))
    positions = torch.arange(first + len(columns), device=lengths.device)
    is_before = torch.ones(len(lengths), first, dtype=torch.bool, device=lengths.device)
    return Prefix(
        tuple(layers),
        positions.expand(len(lengths), -1),
        torch.cat([is_before, is_own], dim=1),
    )


def _embedded(
    model: PreTrainedModel, batch: Batch, bank: Bank, owners: Int[Tensor, " B"]
) -> tuple[list[Float[Tensor, "_t H"]], int]:
    """Return each row's embeddings, its prompt in between where that goes behind the input.

    The number tells by how much prompts move targets.
    """
    embed = model.get_input_embeddings()
    lengths = batch.attention_mask.sum(dim=1).tolist()
    texts = embed(batch.input_ids[batch.attention_mask]).split(lengths)
    if bank.suffix is None:
        return list(texts), 0
    num_inputs = (batch.attention_mask & (batch.labels == IGNORED)).sum(dim=1).tolist()
    prompts = bank.suffix[owners].unbind()
    behind = [
        torch.cat([text[:first], prompt, text[first:]])
        for text, prompt, first in zip(texts, prompts, num_inputs, strict=True)
    ]
    return behind, bank.suffix.shape[1]


def _read_rows(
    model: PreTrainedModel,
    embeds: Sequence[Float[Tensor, "_t H"]],
    before: Prefix | None,
    owners: Int[Tensor, " B"],
    *,
    keep: bool = False,
) -> tuple[Float[Tensor, "M H"], Int[Tensor, " B"], Prefix | None]:
    """Continue what is before each row, packed where the model allows it.

    Returns the hidden states of all positions, where each row begins among them and, to ``keep``,
    the past that the rows leave.
    """
    lengths = torch.tensor([len(row) for row in embeds], device=owners.device)
    if is_packable(model):
        layers = before.keys_values if before else ()
        pack = pack_rows(lengths.tolist(), owners.tolist(), layers, owners.device, keep=keep)
        hidden = read_packed(model, torch.cat(list(embeds)), pack)
        kept = _unpacked(pack, before, owners, lengths) if keep else None
        return hidden, lengths.cumsum(dim=0) - lengths, kept
    padded, past = _read_padded(model, embeds, before.select(owners) if before else None)
    starts = torch.arange(len(embeds), device=owners.device) * padded.shape[1]
    return padded.flatten(0, 1), starts, past


def _read_padded(
    model: PreTrainedModel, embeds: Sequence[Float[Tensor, "_t H"]], past: Prefix | None
) -> tuple[Float[Tensor, "B t H"], Prefix]:
    lengths = torch.tensor([len(row) for row in embeds], device=embeds[0].device)
    padded = pad_sequence(list(embeds), batch_first=True)
    columns = torch.arange(padded.shape[1], device=lengths.device)
    is_real = columns < lengths[:, None]
    before = past.is_real.sum(dim=1, keepdim=True) if past else 0
    positions = torch.where(is_real, columns + before, 0)
    return read_embeds(model, padded, positions, is_real, past=past)
