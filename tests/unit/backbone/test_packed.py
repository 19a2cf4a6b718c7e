"""Rows packed into one sequence see just what each sees alone."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import random_prompts, random_rows
from transformers import StableLmConfig, StableLmForCausalLM

from clinprompt.backbone import packed
from clinprompt.backbone.bank import Bank, target_states
from clinprompt.backbone.packed import is_packable, pack_rows, use_packed_attention
from clinprompt.backbone.shared_prefix import read_prompts, read_text
from clinprompt.batches.encode import IGNORED, collate
from clinprompt.batches.group_rows import group_within_limit

CPU = torch.device("cpu")
ROWS = random_rows([(6, 3), (15, 1), (1, 5), (9, 2)], tasks=(0, 1))


def test_packed_rows_have_the_hidden_states_of_padded_rows(tiny_llama):
    assert is_packable(tiny_llama.model)
    batch = collate(ROWS, pad_id=tiny_llama.pad_id)
    prefix = read_prompts(tiny_llama.model, random_prompts(2, 4))
    past = prefix.select(batch.tasks)
    padded, _ = read_text(tiny_llama.model, batch.input_ids, batch.attention_mask, past)
    found = target_states(tiny_llama.model, batch, Bank(prefix))
    places = torch.nonzero(batch.labels[:, 1:] != IGNORED, as_tuple=True)
    assert torch.allclose(found.hidden, padded[places], atol=1e-5)


def test_models_with_sliding_window_layers_are_never_packed(tiny_gpt_oss):
    assert not is_packable(tiny_gpt_oss.model)


def test_a_model_that_does_not_pass_arguments_to_attention_is_not_packed():
    """StableLM's layers do not pass unknown arguments on to attention."""
    config = StableLmConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = StableLmForCausalLM(config)
    use_packed_attention(model)
    assert not is_packable(model)


def varlen_by_hand(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size):
    """Compute ``varlen_attn`` as documented, one query at a time."""
    assert window_size == (-1, 0)
    out = torch.zeros_like(query)
    for row in range(len(cu_seq_q) - 1):
        q0, q1, k0, k1 = (int(b[row + i]) for b in (cu_seq_q, cu_seq_k) for i in (0, 1))
        assert q1 - q0 <= max_q
        assert k1 - k0 <= max_k
        for at in range(q0, q1):
            seen = slice(k0, k1 - (q1 - 1 - at))  # the last query sees the last key
            for head in range(query.shape[1]):
                weights = (key[seen, head] @ query[at, head] * scale).softmax(dim=0)
                out[at, head] = weights @ value[seen, head]
    return out


def test_one_kernel_for_all_rows_attends_like_one_call_for_each_row(monkeypatch):
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_by_hand)
    draw = torch.Generator().manual_seed(0)
    lengths, num_before = (3, 1, 4), 2
    prompts = [tuple(torch.randn(2, 2, num_before, 8, generator=draw) for _ in range(2))]
    pack = pack_rows(lengths, (1, 0, 1), prompts, CPU)
    query = torch.randn(8, 4, 8, generator=draw)
    keys, values = torch.randn(2, 8 + 3 * num_before, 2, 8, generator=draw)
    at_once = packed._attend_at_once(query, keys, values, pack, 0.5)
    alone = packed._attend_row_by_row(query, keys, values, pack, 0.5)
    assert torch.allclose(at_once, alone, atol=1e-6)


def test_gathered_keys_and_their_gradients_equal_concatenated_ones():
    """The gradient of a prompt is the sum over the rows that use it."""
    draw = torch.Generator().manual_seed(0)
    before = torch.randn(2, 2, 3, 8, generator=draw)  # K G P D
    own = torch.randn(8, 2, 8, generator=draw)
    pack = pack_rows((3, 1, 4), (1, 0, 1), [(before, before)], CPU)
    pack = replace(pack, key_sources=packed._key_sources((3, 1, 4), (1, 0, 1), 2, 3))
    weights = torch.randn(8 + 3 * 3, 2, 8, generator=draw)
    found = []
    for join in (packed._gather, packed._concatenate):
        inputs = [tensor.clone().requires_grad_() for tensor in (before, own)]
        joined = join(inputs[1], inputs[0], pack)
        found.append((joined, *torch.autograd.grad((joined * weights).sum(), inputs)))
    for gathered, alone in zip(*found, strict=True):
        torch.testing.assert_close(gathered, alone)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 60))
def test_groups_within_a_limit_have_every_row_once_in_order_and_none_is_too_long(lengths, limit):
    groups = group_within_limit(lengths, max_tokens=limit)
    assert [number for group in groups for number in group] == list(range(len(lengths)))
    sizes = [sum(lengths[number] for number in group) for group in groups]
    for group, size in zip(groups, sizes, strict=True):
        assert size <= limit or len(group) == 1
    # Neighboring groups would exceed the limit together, so no pass is wasted.
    for (one, size), other in zip(zip(groups, sizes, strict=True), groups[1:], strict=False):
        assert one
        assert size + lengths[other[0]] > limit
