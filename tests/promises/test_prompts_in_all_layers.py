"""A prompt made of keys and values starts equal to the input prompt that gave them."""

import pytest
import torch
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import make_bank, target_states
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.backbone.layers import prompt_width, to_layer_prompts
from clinprompt.batches.encode import collate
from clinprompt.training.member import TASK_LOSS

ROWS = random_rows([(9, 3), (4, 2), (12, 1)], tasks=(0, 1))


def states(backbone, prompts, placement):
    with torch.no_grad():
        bank = make_bank(backbone.model, prompts, placement)
        return target_states(backbone.model, collate(ROWS, pad_id=backbone.pad_id), bank)


def test_at_step_0_it_gives_the_same_logits(backbone):
    prompts = random_prompts(2, 6)
    in_layers = to_layer_prompts(backbone.model, prompts)
    assert in_layers.shape == (2, 6, prompt_width(backbone.model, "layers"))
    found = states(backbone, in_layers, "layers")
    expected = states(backbone, prompts, "prefix")
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 5, -1), (0, 3, 17)])
def test_its_gradient_is_the_slope_of_the_loss(backbone, place):
    """A central difference, in the direction of one number."""
    prompts = to_layer_prompts(backbone.model, random_prompts(2, 6)).requires_grad_()
    batches = [collate(ROWS, pad_id=backbone.pad_id)]

    def loss_of(vectors):
        step = StepPrompts(vectors, (0, 1), (0, 0), "layers")
        return accumulate_gradients(backbone.model, step, batches, TASK_LOSS)[0].total

    loss_of(prompts)
    step = torch.zeros_like(prompts)
    step[place] = 0.05
    values = [loss_of((prompts + sign * step).detach().requires_grad_()) for sign in (1, -1)]
    slope = (values[0] - values[1]) / 0.1
    assert float(prompts.grad[place]) == pytest.approx(slope, rel=0.05, abs=2e-4)
