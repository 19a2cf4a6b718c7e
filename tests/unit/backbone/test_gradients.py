"""The accumulator weighs every row of a member the same and keeps members apart."""

import pytest
import torch
from tiny import random_prompts

from clinprompt.backbone.gradients import Loss, StepPrompts, accumulate_gradients
from clinprompt.batches.encode import Row, collate
from clinprompt.settings.groups import FitSettings
from clinprompt.training.member import row_weights_of

# Rows of tasks 0, 2 and 5. The first row has two target tokens.
ROWS = (
    Row(0, (1, 2, 3), (10, 30)),
    Row(0, (4,), (40,)),
    Row(2, (5, 6), (7,)),
    Row(5, (9, 8, 7, 6), (100,)),
)
TASKS = (0, 2, 5)


def label_terms(batch, states):
    """Return each target token's id and a constant, both connected to the prompts."""
    nothing = 0 * states.logits[:, 0]
    return {"id": nothing + states.labels, "constant": nothing + 2.0}


def logit_terms(batch, states):
    return {"logit": states.logits[:, 3]}


def batches_of(backbone, groups):
    return [collate([ROWS[i] for i in group], pad_id=backbone.pad_id) for group in groups]


def values_of(
    backbone, members, groups=((0, 1, 2, 3),), weights=(1.0, 1.0), row_weights=torch.ones_like
):
    loss = Loss(label_terms, dict(zip(("id", "constant"), weights, strict=True)), row_weights)
    prompts = StepPrompts(random_prompts(3, 2).requires_grad_(), TASKS, members)
    return accumulate_gradients(backbone.model, prompts, batches_of(backbone, groups), loss)


def test_a_term_is_the_mean_over_rows_of_the_mean_over_tokens(backbone):
    [values] = values_of(backbone, (0, 0, 0))
    # Row means 20, 40, 7 and 100.
    assert values.terms == pytest.approx({"id": 167 / 4, "constant": 2.0})


def test_each_member_has_the_mean_over_its_own_rows(backbone):
    first, second = values_of(backbone, (0, 1, 1))
    assert first.terms == pytest.approx({"id": (20 + 40) / 2, "constant": 2.0})
    assert second.terms == pytest.approx({"id": (7 + 100) / 2, "constant": 2.0})


def test_the_loss_of_a_member_is_the_weighted_sum_of_its_terms(backbone):
    first, second = values_of(backbone, (0, 1, 1), weights=(0.5, 3.0))
    assert first.total == pytest.approx(0.5 * 30 + 3 * 2)
    assert second.total == pytest.approx(0.5 * 53.5 + 3 * 2)


def test_rows_may_count_by_their_tokens(backbone):
    first, second = values_of(backbone, (0, 1, 1), row_weights=torch.clone)
    # Tokens 10 and 30 of one row and 40 of the other: a mean of 80 / 3.
    assert first.terms == pytest.approx({"id": 80 / 3, "constant": 2.0})
    assert second.terms == pytest.approx({"id": (7 + 100) / 2, "constant": 2.0})


def test_rows_may_count_by_their_tokens_up_to_a_cap(backbone):
    settings = FitSettings(row_weights="capped", row_cap=1)
    capped = values_of(backbone, (0, 0, 0), row_weights=row_weights_of(settings))
    assert capped == values_of(backbone, (0, 0, 0))  # no answer has fewer tokens than one
    settings = FitSettings(row_weights="capped", row_cap=2)
    capped = values_of(backbone, (0, 0, 0), row_weights=row_weights_of(settings))
    assert capped == values_of(backbone, (0, 0, 0), row_weights=torch.clone)


@pytest.mark.parametrize("row_weights", ["row", "token", "capped"])
@pytest.mark.parametrize("groups", [((0,), (1,), (2,), (3,)), ((3, 0), (2, 1)), ((0, 1), (2, 3))])
def test_micro_batches_do_not_change_the_values(backbone, groups, row_weights):
    weigh = row_weights_of(FitSettings(row_weights=row_weights, row_cap=1))
    whole, divided = (
        values_of(backbone, (0, 1, 1), own, row_weights=weigh) for own in (((0, 1, 2, 3),), groups)
    )
    for one, other in zip(whole, divided, strict=True):
        assert other.total == pytest.approx(one.total)
        assert other.terms == pytest.approx(one.terms)


def gradient_of(backbone, prompts, tasks, members, rows, row_weights):
    prompts = prompts.clone().requires_grad_()
    batches = batches_of(backbone, [rows])
    step = StepPrompts(prompts, tasks, members)
    loss = Loss(logit_terms, {"logit": 1.0}, row_weights_of(FitSettings(row_weights=row_weights)))
    accumulate_gradients(backbone.model, step, batches, loss)
    return prompts.grad


@pytest.mark.parametrize("row_weights", ["row", "token", "capped"])
def test_a_member_has_the_gradient_that_it_has_alone(backbone, row_weights):
    prompts = random_prompts(3, 2)
    together = gradient_of(backbone, prompts, TASKS, (0, 1, 1), (0, 1, 2, 3), row_weights)
    first = gradient_of(backbone, prompts[:1], (0,), (0,), (0, 1), row_weights)
    second = gradient_of(backbone, prompts[1:], (2, 5), (0, 0), (2, 3), row_weights)
    torch.testing.assert_close(together, torch.cat([first, second]), rtol=1e-3, atol=1e-5)
