"""Rows are answered in groups whose keys and values fit, the answers' own included."""

from tiny import random_prompts, random_rows

from clinprompt.backbone import decode
from clinprompt.backbone.bank import make_bank


def test_a_group_has_room_for_prompts_inputs_and_answers(tiny_llama, monkeypatch):
    """A row takes 4 + 5 + 20 = 29 positions: three of them fit 100, and the last is alone."""
    monkeypatch.setattr(decode, "MIN_CACHED_POSITIONS", 100)
    bank = make_bank(tiny_llama.model, random_prompts(1, 4).detach())
    rows = random_rows([(5, 0)] * 7)
    groups = decode._groups(tiny_llama, rows, bank, [20] * 7, 0)
    assert [len(group) for group in groups] == [3, 3, 1]


def test_a_gpu_keeps_more_at_a_time_as_far_as_its_memory_goes():
    """Of 80 GB, of 24 GB for a larger model, and of 8 GB for one that fills it."""
    each = 131_072  # bytes a position of Llama 3.1 8B
    assert decode._fitting(80_000_000_000, 23_040) == 8 * decode.MIN_CACHED_POSITIONS
    middle = decode._fitting(24_000_000_000, each)
    assert decode.MIN_CACHED_POSITIONS < middle < 8 * decode.MIN_CACHED_POSITIONS
    assert middle * each < 0.1 * 24_000_000_000
    assert decode._fitting(8_000_000_000, each) == decode.MIN_CACHED_POSITIONS
