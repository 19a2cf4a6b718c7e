"""Run the model on rows of different lengths as one packed sequence, without padding.

Every part of a Llama except attention works on single positions, so the rows of a batch can be
joined into one sequence. Attention keeps the rows separate: a row's queries attend to the keys of
its prompt and to the row's own keys. Knows nothing of where prompts come from.

Axes: B rows, N positions of all rows, K prompts, P prompt positions, M keys of all rows (each row's
prompt and own keys), Q query heads, G key-value heads, D head size, H hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_ATTENTION = "clinprompt"
_FORWARDING = frozenset(  # pass extra arguments on to attention, and need nothing special of it
    {"gemma", "llama", "mistral", "phi", "phi3", "qwen2", "qwen3", "smollm3"}
)
_LayerCache = tuple[Float[Tensor, "K G P D"], Float[Tensor, "K G P D"]]


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The boundaries of rows in a packed sequence, and the keys and values of their prompts.

    ``prompts`` has the keys and values of K prompts for each layer (empty without prompts), each
    with ``num_prompt_positions`` positions; ``prompt_indices`` gives the prompt of each row.
    ``query_bounds`` and ``key_bounds`` are the offsets of rows among all queries and keys.

    ``masks`` has one causal mask for each row: a query sees the whole prompt and its row up to
    itself. It is empty on CUDA, where the kernel masks by itself. ``key_sources``, on CUDA only,
    gives the index of each key: first the keys of all prompts, then those of all rows.

    If ``new_keys_values`` is a list, each layer appends the rows' own keys and values to it.
    """

    lengths: tuple[int, ...]
    prompt_indices: tuple[int, ...]
    prompts: Sequence[_LayerCache]
    num_prompt_positions: int
    masks: tuple[Tensor, ...]
    query_bounds: Int[Tensor, " b"]
    key_bounds: Int[Tensor, " b"]
    key_sources: Int[Tensor, " M"] | None = None
    new_keys_values: list[tuple[Float[Tensor, "G N D"], Float[Tensor, "G N D"]]] | None = None


def is_packable(model: PreTrainedModel) -> bool:
    """Return whether a model supports packed rows.

    All of its layers need full causal attention. On CUDA the weights must have 16 bits, because
    the kernel for rows of different lengths supports no other type.
    """
    is_known = model.config._attn_implementation == PACKED_ATTENTION
    return bool(is_known and (model.device.type != "cuda" or model.dtype.itemsize == 2))


def use_packed_attention(model: PreTrainedModel) -> None:
    """Enable packed rows in a model if all of its layers have full causal attention."""
    config = model.config
    is_known = config.model_type in _FORWARDING
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    is_plain = kinds == {"full_attention"} and getattr(config, "sliding_window", None) is None
    if is_known and is_plain and config._attn_implementation == "sdpa":
        model.set_attn_implementation(PACKED_ATTENTION)


def pack_rows(
    lengths: Sequence[int],
    prompt_indices: Sequence[int],
    prompts: Sequence[_LayerCache],
    device: torch.device,
    *,
    keep: bool = False,
) -> PackedRows:
    """Return the layout of rows of the given lengths, each with its prompt."""
    on_gpu = device.type == "cuda"
    num_prompts, _, length, _ = prompts[0][0].shape if prompts else (0, 0, 0, 0)
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    prompt_keys = length * torch.arange(len(starts), dtype=torch.int32, device=device)
    return PackedRows(
        lengths=tuple(lengths),
        prompt_indices=tuple(prompt_indices),
        prompts=prompts,
        num_prompt_positions=length,
        masks=() if on_gpu else _causal_masks(lengths, length, device),
        query_bounds=starts,
        key_bounds=starts + prompt_keys,
        key_sources=(
            _key_sources(lengths, prompt_indices, num_prompts, length).to(device)
            if on_gpu
            else None
        ),
        new_keys_values=[] if keep else None,
    )


def _key_sources(
    lengths: Sequence[int], prompt_indices: Sequence[int], num_prompts: int, prompt_length: int
) -> Int[Tensor, " M"]:
    first = num_prompts * prompt_length
    parts = []
    for prompt, length in zip(prompt_indices, lengths, strict=True):
        start = prompt * prompt_length
        parts += [torch.arange(start, start + prompt_length), torch.arange(first, first + length)]
        first += length
    return torch.cat(parts)


def _causal_masks(
    lengths: Sequence[int], prompt_length: int, device: torch.device
) -> tuple[Tensor, ...]:
    longest = max(lengths)
    visible = torch.ones(longest, prompt_length + longest, dtype=torch.bool, device=device)
    visible = visible.tril(prompt_length)
    return tuple(visible[:length, : prompt_length + length] for length in lengths)


def read_packed(
    model: PreTrainedModel, embeds: Float[Tensor, "N H"], packed: PackedRows
) -> Float[Tensor, "N H"]:
    """Return the last hidden states, after the final norm, of packed rows."""
    first = packed.num_prompt_positions
    positions = torch.cat([torch.arange(first, first + length) for length in packed.lengths])
    output = model.base_model(
        inputs_embeds=embeds[None],
        attention_mask=embeds.new_zeros(
            1, 1, 1, 1
        ),  # unused; without it transformers makes one of N²
        position_ids=positions[None].to(embeds.device),
        use_cache=False,
        packed=packed,
    )
    states: Tensor = output.last_hidden_state[0]
    return states


def _attention(  # noqa: PLR0913 - the signature is that of transformers
    module: torch.nn.Module,
    query: Float[Tensor, "B Q N D"],
    key: Float[Tensor, "B G S D"],
    value: Float[Tensor, "B G S D"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packed: PackedRows | None = None,
    **options: object,
) -> tuple[Float[Tensor, "B N Q D"], None]:
    """Compute attention with SDPA or, for packed rows, separately for each row."""
    if packed is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return output
    layer = module.layer_idx
    assert isinstance(layer, int)
    if packed.new_keys_values is not None:
        packed.new_keys_values.append((key[0], value[0]))
    own = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    prompts = packed.prompts[layer] if packed.prompts else (None, None)
    on_gpu = query.device.type == "cuda"
    join, attend = (_gather, _attend_at_once) if on_gpu else (_concatenate, _attend_row_by_row)
    keys, values = (
        join(tensor, prompt, packed) for tensor, prompt in zip(own[1:], prompts, strict=True)
    )
    return attend(own[0], keys, values, packed, scaling)[None], None


def _gather(
    own: Float[Tensor, "N G D"], prompts: Float[Tensor, "K G P D"] | None, packed: PackedRows
) -> Float[Tensor, "M G D"]:
    """Return the same as ``_concatenate``, with a number of kernels independent of the rows.

    On a GPU the kernels for single rows take longer to launch than to run. The gradients of a
    prompt that several rows share are summed in no fixed order there, so two runs are equal only
    within rounding errors.
    """
    if prompts is None:
        return own
    assert packed.key_sources is not None
    all_prompts = prompts.transpose(1, 2).flatten(0, 1)
    return torch.cat([all_prompts, own]).index_select(0, packed.key_sources)


def _concatenate(
    own: Float[Tensor, "N G D"], prompts: Float[Tensor, "K G P D"] | None, packed: PackedRows
) -> Float[Tensor, "M G D"]:
    """Return the keys (or values) of all rows, each after those of its prompt."""
    if prompts is None:
        return own
    by_prompt = prompts.transpose(1, 2).unbind()
    rows = torch.split(own, list(packed.lengths))
    parts = [
        part
        for prompt, row in zip(packed.prompt_indices, rows, strict=True)
        for part in (by_prompt[prompt], row)
    ]
    return torch.cat(parts)


def _attend_row_by_row(
    query: Float[Tensor, "N Q D"],
    keys: Float[Tensor, "M G D"],
    values: Float[Tensor, "M G D"],
    packed: PackedRows,
    scaling: float | None,
) -> Float[Tensor, "N Q D"]:
    """Compute attention with one call for each row."""
    key_lengths = [length + packed.num_prompt_positions for length in packed.lengths]
    rows = zip(
        torch.split(query, list(packed.lengths)),
        torch.split(keys, key_lengths),
        torch.split(values, key_lengths),
        packed.masks,
        strict=True,
    )
    attended = [
        scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            k.transpose(0, 1)[None],
            v.transpose(0, 1)[None],
            attn_mask=mask,
            scale=scaling,
            enable_gqa=True,
        )
        for q, k, v, mask in rows
    ]
    return torch.cat([row[0].transpose(0, 1) for row in attended])


def _attend_at_once(
    query: Float[Tensor, "N Q D"],
    keys: Float[Tensor, "M G D"],
    values: Float[Tensor, "M G D"],
    packed: PackedRows,
    scaling: float | None,
) -> Float[Tensor, "N Q D"]:
    """Compute attention with one kernel for all rows; a row's last query sees its last key."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - only for CUDA

    repeats = query.shape[1] // keys.shape[1]
    longest = max(packed.lengths)
    attended = varlen_attn(
        query,
        keys.repeat_interleave(repeats, dim=1),
        values.repeat_interleave(repeats, dim=1),
        packed.query_bounds,
        packed.key_bounds,
        longest,
        longest + packed.num_prompt_positions,
        scale=scaling,
        window_size=(-1, 0),
    )
    assert isinstance(attended, Tensor)
    return attended


AttentionInterface.register(PACKED_ATTENTION, _attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
