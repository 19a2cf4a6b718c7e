"""Join prompts to text in a frozen model, computing each task's prompt once for all of its rows.

The only place where a prompt meets a model. Knows nothing of losses, tasks or training.
The backbone is frozen and attention is causal, so the keys and values at the prompt positions
depend on the task alone; one step over B rows of K tasks needs K·P + ΣT positions, not B·P + ΣT.

Axes: K tasks, P prompt positions, B rows, T text tokens, N target tokens, H hidden size,
V vocabulary, S stored positions, G key-value heads, D head size.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from clinprompt.backbone.packed import is_packable, make_pack, read_packed
from clinprompt.batches.encode import IGNORED, Batch

KeysValues = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values, layer by layer ([B, G, S, D] each), of positions that came before.

    ``positions`` are the rotary positions of the S stored ones; ``is_real`` is False at padding.
    """

    keys_values: KeysValues
    positions: Int[Tensor, "B S"]
    is_real: Bool[Tensor, "B S"]

    def select(self, rows: Int[Tensor, " n"]) -> "Prefix":
        """Return the given rows, in that order; a row may come more than once."""
        layers = tuple((keys[rows], values[rows]) for keys, values in self.keys_values)
        return Prefix(layers, self.positions[rows], self.is_real[rows])


@dataclass(frozen=True, slots=True)
class TargetStates:
    """What the model says where a target token is due: one entry a target token of a batch.

    ``hidden`` is the last hidden state after the final norm, ``rows`` the batch row of each entry.
    """

    hidden: Float[Tensor, "N H"]
    logits: Float[Tensor, "N V"]
    labels: Int[Tensor, " N"]
    rows: Int[Tensor, " N"]


Loss = Callable[[Batch, TargetStates], Tensor]


def read_prompts(model: PreTrainedModel, prompts: Float[Tensor, "K P H"]) -> Prefix:
    """Compute the keys and values of K prompts; gradients flow back to the prompts."""
    num_tasks, length, _ = prompts.shape
    positions = torch.arange(length, device=prompts.device).expand(num_tasks, length)
    is_real = torch.ones_like(positions, dtype=torch.bool)
    embeds = prompts.to(model.get_input_embeddings().weight.dtype)
    _, prefix = _forward(model, embeds, positions, is_real, past=None)
    return prefix


def read_text(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "B T"],
    is_real: Bool[Tensor, "B T"],
    past: Prefix | None,
) -> tuple[Float[Tensor, "B T H"], Prefix]:
    """Continue ``past`` (a row for each of B) with text; return hidden states and the new past."""
    positions = torch.cumsum(is_real, dim=1) - 1
    if past is not None:
        positions = positions + past.is_real.sum(dim=1, keepdim=True)
    embeds = model.get_input_embeddings()(input_ids)
    return _forward(model, embeds, positions.clamp(min=0), is_real, past=past)


def logits_of(model: PreTrainedModel, hidden: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
    """Return logits of normalized hidden states, in float32 or better."""
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_states(
    model: PreTrainedModel,
    batch: Batch,
    prefix: Prefix | None,
    owners: Int[Tensor, " B"] | None = None,
) -> TargetStates:
    """Return hidden states and logits at the positions that predict a target token.

    ``prefix`` holds K prompts; ``owners`` tells which of them each row continues (its ``tasks``, if
    not given). Rows are packed where the model allows it, so padding costs nothing.
    """
    owners = batch.tasks if owners is None else owners
    next_labels = batch.labels[:, 1:]
    rows, columns = torch.nonzero(next_labels != IGNORED, as_tuple=True)
    if is_packable(model):
        hidden, starts = _read_as_pack(model, batch, prefix, owners)
        at_targets = hidden[starts[rows] + columns]
    else:
        past = prefix.select(owners) if prefix else None
        at_targets = read_text(model, batch.input_ids, batch.attention_mask, past)[0][rows, columns]
    return TargetStates(at_targets, logits_of(model, at_targets), next_labels[rows, columns], rows)


def _read_as_pack(
    model: PreTrainedModel, batch: Batch, prefix: Prefix | None, owners: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "N H"], Int[Tensor, " B"]]:
    """Return the hidden states of all real positions, and where each row begins among them."""
    lengths = batch.attention_mask.sum(dim=1)
    embeds = model.get_input_embeddings()(batch.input_ids[batch.attention_mask])
    prompts = prefix.keys_values if prefix else ()
    pack = make_pack(lengths.tolist(), owners.tolist(), prompts, embeds.device)
    return read_packed(model, embeds, pack), lengths.cumsum(dim=0) - lengths


def accumulate_gradients(
    model: PreTrainedModel,
    prompts: Float[Tensor, "K P H"] | None,
    tasks: Sequence[int],
    batches: Sequence[Batch],
    loss: Loss,
) -> float:
    """Add the gradients of a step's summed loss; return the loss.

    ``prompts`` are those of ``tasks``, in ascending order; ``batches`` are the micro-batches of the
    step. The prompts' keys and values are computed once; each micro-batch runs backward to detached
    copies, so memory stays that of one micro-batch; one last backward reaches the prompts.
    """
    if prompts is None:
        return _sum(_backward(loss(b, target_states(model, b, None))) for b in batches)
    prefix = read_prompts(model, prompts)
    leaves = tuple(
        (keys.detach().requires_grad_(), values.detach().requires_grad_())
        for keys, values in prefix.keys_values
    )
    shared = Prefix(leaves, prefix.positions, prefix.is_real)
    order = torch.tensor(tasks, device=prompts.device)
    total = _sum(
        _backward(loss(b, target_states(model, b, shared, torch.searchsorted(order, b.tasks))))
        for b in batches
    )
    outputs = [tensor for layer in prefix.keys_values for tensor in layer]
    gradients = [tensor.grad for layer in leaves for tensor in layer]
    torch.autograd.backward(outputs, gradients)
    return total


def _backward(loss: Tensor) -> Tensor:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _sum(losses: Iterable[Tensor]) -> float:
    return float(sum(losses))


def _forward(
    model: PreTrainedModel,
    embeds: Float[Tensor, "B T H"],
    positions: Int[Tensor, "B T"],
    is_real: Bool[Tensor, "B T"],
    *,
    past: Prefix | None,
) -> tuple[Float[Tensor, "B T H"], Prefix]:
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(past.keys_values if past else ()):
        cache.update(keys, values, layer)
    all_positions = torch.cat([past.positions, positions], dim=1) if past else positions
    all_real = torch.cat([past.is_real, is_real], dim=1) if past else is_real
    output = model.base_model(
        inputs_embeds=embeds,
        attention_mask=_masks(model, positions, all_positions, all_real, dtype=embeds.dtype),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    return output.last_hidden_state, Prefix(layers, all_positions, all_real)


def _masks(
    model: PreTrainedModel,
    queries: Int[Tensor, "B T"],
    keys: Int[Tensor, "B S"],
    keys_are_real: Bool[Tensor, "B S"],
    *,
    dtype: torch.dtype,
) -> Tensor | dict[str, Tensor]:
    """Return additive attention masks built from positions, one for each kind of layer.

    Positions rather than storage order decide, so padding between a row's parts is harmless.
    """
    distance = queries[:, None, :, None] - keys[:, None, None, :]
    visible = (distance >= 0) & keys_are_real[:, None, None, :]
    config = model.config
    window: int | None = getattr(config, "sliding_window", None)
    full = _additive(visible, dtype)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not kinds:
        return full if window is None else _additive(visible & (distance < window), dtype)
    masks = {"full_attention": full}
    if "sliding_attention" in kinds:
        assert window is not None
        masks["sliding_attention"] = _additive(visible & (distance < window), dtype)
    return masks


def _additive(visible: Bool[Tensor, "B 1 T S"], dtype: torch.dtype) -> Float[Tensor, "B 1 T S"]:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(dtype).min)
