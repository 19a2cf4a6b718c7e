"""The loss of each row is that of the row alone, in the order given."""

import pytest
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.training.fit import mean_loss
from clinprompt.training.row_losses import row_losses

ROWS = random_rows([(6, 2), (40, 3), (9, 1), (1, 5)])


@pytest.mark.parametrize("placement", ["prefix", "suffix"])
@pytest.mark.parametrize("max_tokens", [1, 30, 4096])
def test_each_row_has_the_mean_loss_of_itself_alone(backbone, placement, max_tokens):
    prompts = random_prompts(1, 4)
    bank = make_bank(backbone.model, prompts, placement)
    tuner = PromptTuner(SoftPrompts(prompts), placement)
    found = row_losses(backbone, bank, ROWS, max_tokens=max_tokens)
    assert found == pytest.approx([mean_loss(backbone, tuner, [row]) for row in ROWS], rel=1e-4)
