"""Rows are answered in groups that keep within the limit of the KV cache."""

from tiny import random_prompts, random_rows

from clinprompt.backbone import decode
from clinprompt.backbone.bank import make_bank


def test_the_limit_of_a_group_counts_prompts_inputs_and_answers(tiny_llama, monkeypatch):
    """A row takes 4 + 5 + 20 = 29 positions: three of them fit 100, and the last is alone."""
    monkeypatch.setattr(decode, "MIN_CACHED_POSITIONS", 100)
    bank = make_bank(tiny_llama.model, random_prompts(1, 4).detach())
    rows = random_rows([(5, 0)] * 7)
    groups = decode._groups(tiny_llama, rows, bank, [20] * 7, 0)
    assert [len(group) for group in groups] == [3, 3, 1]


def test_a_gpu_caches_more_positions_if_its_memory_allows():
    """Cases: 80 GB; 24 GB with a larger model; 8 GB filled by the model."""
    each = 131_072  # bytes a position of Llama 3.1 8B
    assert decode._num_fitting(80_000_000_000, 23_040) == 8 * decode.MIN_CACHED_POSITIONS
    middle = decode._num_fitting(24_000_000_000, each)
    assert decode.MIN_CACHED_POSITIONS < middle < 8 * decode.MIN_CACHED_POSITIONS
    assert middle * each < 0.1 * 24_000_000_000
    assert decode._num_fitting(8_000_000_000, each) == decode.MIN_CACHED_POSITIONS
