"""Every row of a step counts the same, whatever the length of its answer."""

import torch

from clinprompt.backbone.gradients import token_weights


def test_weights_share_a_row_among_its_tokens():
    rows = torch.tensor([0, 0, 1, 3, 3, 3, 3])
    # Rows of 2, 1 and 4 target tokens in a step of 4 rows (row 2 has no target).
    expected = [1 / 8, 1 / 8, 1 / 4, 1 / 16, 1 / 16, 1 / 16, 1 / 16]
    assert token_weights(rows, total=4).tolist() == expected


def test_weights_of_a_step_add_up_to_one_over_its_micro_batches():
    first, second = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0])
    total = token_weights(first, total=3).sum() + token_weights(second, total=3).sum()
    torch.testing.assert_close(total, torch.tensor(1.0))
