"""Fitting scores rows one like another."""

import pytest
import torch
from tiny import random_prompts, random_rows
from torch.nn.functional import cross_entropy

from clinprompt.backbone.tuners import PromptTuner
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.training.fit import mean_loss

ROWS = random_rows([(6, 2), (4, 3), (9, 1), (1, 5)], tasks=(0, 2))


@pytest.mark.parametrize("max_tokens", [1, 20, 4096])
def test_mean_loss_is_the_mean_over_rows_of_the_mean_over_tokens(backbone, max_tokens):
    prompts = random_prompts(3, 4)
    losses = []
    for row in ROWS:
        text = backbone.model.get_input_embeddings()(torch.tensor(row.input_ids + row.target_ids))
        embeds = torch.cat([prompts[row.task], text])[None]
        logits = backbone.model(inputs_embeds=embeds).logits[0]
        first = 4 + len(row.input_ids) - 1
        losses.append(cross_entropy(logits[first:-1], torch.tensor(row.target_ids)).item())
    found = mean_loss(backbone, PromptTuner(SoftPrompts(prompts)), ROWS, max_tokens=max_tokens)
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)
