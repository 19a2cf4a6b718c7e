"""Which cells of a grid are trained side by side, and which cells a block starts."""

from types import SimpleNamespace

from clinprompt.jobs.comparison.grid import blocks
from clinprompt.jobs.comparison.teams import team_of, with_team_members
from clinprompt.settings.groups import CompareSettings

METHODS = ("lora", "prompt-tuning", "spot", "prompt-tuning@long")


def grid(*, shots=(4,), seeds=(0,), num_targets=3):
    """Return the blocks of a grid on made-up targets t0, t1, ... of one type."""
    targets = [
        SimpleNamespace(card=SimpleNamespace(name=f"t{number}", type="ner"))
        for number in range(num_targets)
    ]
    return list(blocks(CompareSettings(methods=METHODS, shots=shots, seeds=seeds), "b", targets))


def names(cells):
    return [f"{cell.data.card.name} {cell.method}" for cell in cells]


def by_variant(cell):
    """Return the key of a team: prompts of one variant are trained together."""
    return None if cell.method == "lora" else ("prompts", cell.variant)


def test_a_prompt_is_trained_together_with_prompts_of_all_targets_shots_and_seeds():
    first, *others = grid(shots=(4, 8), seeds=(0, 1))
    unfinished = [*first, *(cell for block in others for cell in block)]
    found = list(team_of(first[2], unfinished, by_variant))
    expected = ["t0 spot", "t0 prompt-tuning"]
    expected += ["t1 prompt-tuning", "t1 spot", "t2 prompt-tuning", "t2 spot"]
    assert names(found)[:6] == expected
    assert len(found) == 2 * 3 * 2 * 2  # methods, targets, shots, seeds
    assert len(list(team_of(first[3], unfinished, by_variant))) == 3 * 2 * 2  # the variant
    assert list(team_of(first[0], unfinished, by_variant)) == [first[0]]


def test_a_block_takes_later_cells_until_its_teams_are_complete():
    first, *others = grid()
    ahead = [cell for block in others for cell in block]
    assert with_team_members(first, ahead, 1, by_variant) == list(first)
    # Two prompts and one of the variant: of three each, one and two are wanting.
    assert names(with_team_members(first, ahead, 3, by_variant))[4:] == [
        "t1 prompt-tuning",
        "t1 prompt-tuning@long",
        "t2 prompt-tuning@long",
    ]
    assert len(with_team_members(first, ahead, 100, by_variant)) == 4 + 2 * 3  # all but lora
