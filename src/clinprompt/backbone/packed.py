"""Read rows of any lengths as one sequence, without a position of padding.

Everything in a Llama but attention looks at one position at a time, so the rows of a batch can
stand one behind the other. Only attention keeps them apart: the queries of a row meet the keys of
its prompt, then its own. Knows nothing of where prompts come from.

Axes: B rows, N positions of all rows together, K tasks, P prompt positions, M keys of all rows
together, Q query heads, G key-value heads, D head size, H hidden size.
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
_FORWARDING = frozenset({"llama", "mistral", "qwen2"})  # hand their attention what they are given
_LayerCache = tuple[Float[Tensor, "K G P D"], Float[Tensor, "K G P D"]]


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Where rows begin and end in one sequence, and which prompt's keys and values each one sees.

    ``prompts`` has the keys and values of K prompts for each layer (empty: no prompt), of
    ``num_prompt_positions`` each, ``owners`` the prompt of each row. ``masks`` tell what each row's
    queries may see: all of the prompt, and of its own positions those up to the query; on CUDA the
    kernel knows, and there are none. ``sources`` tells, on CUDA alone, where each key comes from:
    those of the prompts are numbered first, then the rows' own. To ``kept``, if it is a list,
    reading adds the keys and values of each layer.
    """

    lengths: tuple[int, ...]
    owners: tuple[int, ...]
    prompts: Sequence[_LayerCache]
    num_prompt_positions: int
    masks: tuple[Tensor, ...]
    query_bounds: Int[Tensor, " b"]
    key_bounds: Int[Tensor, " b"]
    sources: Int[Tensor, " M"] | None = None
    kept: list[tuple[Float[Tensor, "G N D"], Float[Tensor, "G N D"]]] | None = None


def is_packable(model: PreTrainedModel) -> bool:
    """Tell whether a model's rows can be packed: all of its layers see everything before them.

    On CUDA, only in 16 bits: the kernel for rows of many lengths knows no others.
    """
    is_known = model.config._attn_implementation == PACKED_ATTENTION
    return bool(is_known and (model.device.type != "cuda" or model.dtype.itemsize == 2))


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let a model attend to packed rows too, where its attention is plain."""
    config = model.config
    is_known = config.model_type in _FORWARDING
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    is_plain = kinds == {"full_attention"} and getattr(config, "sliding_window", None) is None
    if is_known and is_plain and config._attn_implementation == "sdpa":
        model.set_attn_implementation(PACKED_ATTENTION)


def pack_rows(
    lengths: Sequence[int],
    owners: Sequence[int],
    prompts: Sequence[_LayerCache],
    device: torch.device,
    *,
    keep: bool = False,
) -> PackedRows:
    """Return the pack of rows of the given lengths, each under the prompt that owns it."""
    on_gpu = device.type == "cuda"
    num_prompts, _, num_before, _ = prompts[0][0].shape if prompts else (0, 0, 0, 0)
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    before = num_before * torch.arange(len(starts), dtype=torch.int32, device=device)
    return PackedRows(
        lengths=tuple(lengths),
        owners=tuple(owners),
        prompts=prompts,
        num_prompt_positions=num_before,
        masks=() if on_gpu else _masks(lengths, num_before, device),
        query_bounds=starts,
        key_bounds=starts + before,
        sources=_sources(lengths, owners, num_prompts, num_before).to(device) if on_gpu else None,
        kept=[] if keep else None,
    )


def _sources(
    lengths: Sequence[int], owners: Sequence[int], num_prompts: int, num_before: int
) -> Int[Tensor, " M"]:
    first = num_prompts * num_before
    parts = []
    for owner, length in zip(owners, lengths, strict=True):
        start = owner * num_before
        parts += [torch.arange(start, start + num_before), torch.arange(first, first + length)]
        first += length
    return torch.cat(parts)


def _masks(lengths: Sequence[int], num_before: int, device: torch.device) -> tuple[Tensor, ...]:
    longest = max(lengths)
    visible = torch.ones(longest, num_before + longest, dtype=torch.bool, device=device)
    visible = visible.tril(num_before)
    return tuple(visible[:length, : num_before + length] for length in lengths)


def read_packed(
    model: PreTrainedModel, embeds: Float[Tensor, "N H"], pack: PackedRows
) -> Float[Tensor, "N H"]:
    """Return the last hidden states, after the final norm, of packed rows."""
    first = pack.num_prompt_positions
    positions = torch.cat([torch.arange(first, first + length) for length in pack.lengths])
    output = model.base_model(
        inputs_embeds=embeds[None],
        attention_mask=embeds.new_zeros(1, 1, 1, 1),  # of no use; without, one of N² is made
        position_ids=positions[None].to(embeds.device),
        use_cache=False,
        pack=pack,
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
    pack: PackedRows | None = None,
    **options: object,
) -> tuple[Float[Tensor, "B N Q D"], None]:
    """Attend as SDPA does or, where there is a pack, to each row's own keys alone."""
    if pack is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return output
    layer = module.layer_idx
    assert isinstance(layer, int)
    if pack.kept is not None:
        pack.kept.append((key[0], value[0]))
    own = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    before = pack.prompts[layer] if pack.prompts else (None, None)
    at_once = query.device.type == "cuda"
    join, attend = (_gathered, _attend_at_once) if at_once else (_joined, _attend_row_by_row)
    keys, values = (
        join(tensor, prompts, pack) for tensor, prompts in zip(own[1:], before, strict=True)
    )
    return attend(own[0], keys, values, pack, scaling)[None], None


def _gathered(
    own: Float[Tensor, "N G D"], before: Float[Tensor, "K G P D"] | None, pack: PackedRows
) -> Float[Tensor, "M G D"]:
    """Return what ``_joined`` does, by as many kernels for many rows as for one.

    On a GPU those of single rows take longer to start than to run. Gradients of a prompt that
    several rows share are added up in no fixed order there, so runs repeat within rounding.
    """
    if before is None:
        return own
    assert pack.sources is not None
    prompts = before.transpose(1, 2).flatten(0, 1)
    return torch.cat([prompts, own]).index_select(0, pack.sources)


def _joined(
    own: Float[Tensor, "N G D"], before: Float[Tensor, "K G P D"] | None, pack: PackedRows
) -> Float[Tensor, "M G D"]:
    """Return the keys (or values) of all rows, each behind those of its prompt."""
    if before is None:
        return own
    prompts = before.transpose(1, 2).unbind()
    rows = torch.split(own, list(pack.lengths))
    parts = [
        part for owner, row in zip(pack.owners, rows, strict=True) for part in (prompts[owner], row)
    ]
    return torch.cat(parts)


def _attend_row_by_row(
    query: Float[Tensor, "N Q D"],
    keys: Float[Tensor, "M G D"],
    values: Float[Tensor, "M G D"],
    pack: PackedRows,
    scaling: float | None,
) -> Float[Tensor, "N Q D"]:
    key_lengths = [length + pack.num_prompt_positions for length in pack.lengths]
    rows = zip(
        torch.split(query, list(pack.lengths)),
        torch.split(keys, key_lengths),
        torch.split(values, key_lengths),
        pack.masks,
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
    pack: PackedRows,
    scaling: float | None,
) -> Float[Tensor, "N Q D"]:
    """Attend with one kernel for all rows; a row's last query sees its last key."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - for CUDA alone

    repeats = query.shape[1] // keys.shape[1]
    longest = max(pack.lengths)
    attended = varlen_attn(
        query,
        keys.repeat_interleave(repeats, dim=1),
        values.repeat_interleave(repeats, dim=1),
        pack.query_bounds,
        pack.key_bounds,
        longest,
        longest + pack.num_prompt_positions,
        scale=scaling,
        window_size=(-1, 0),
    )
    assert isinstance(attended, Tensor)
    return attended


AttentionInterface.register(PACKED_ATTENTION, _attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
