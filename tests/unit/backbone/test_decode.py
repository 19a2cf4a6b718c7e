"""Rows are answered in groups whose keys and values fit, the answers' own included."""

from tiny import random_prompts, random_rows

from clinprompt.backbone import decode
from clinprompt.backbone.bank import make_bank


def test_a_group_has_room_for_prompts_inputs_and_answers(tiny_llama, monkeypatch):
    """A row takes 4 + 5 + 20 = 29 positions: three of them fit 100, and the last is alone."""
    monkeypatch.setattr(decode, "POSITIONS_AT_ONCE", 100)
    bank = make_bank(tiny_llama.model, random_prompts(1, 4).detach())
    rows = random_rows([(5, 0)] * 7)
    groups = decode._groups(tiny_llama, rows, bank, [20] * 7, 0)
    assert [len(group) for group in groups] == [3, 3, 1]
