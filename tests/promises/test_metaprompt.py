"""A task's prompt is shared ∘ (u · v)."""

import pytest
import torch
from tiny import random_prompts

from clinprompt.prompts.decomposed import DecomposedPrompts, compose, neutral_factors


def test_a_prompt_is_shared_times_u_times_v_worked_by_hand():
    shared = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    u = torch.tensor([[[1.0], [2.0]], [[0.0], [1.0]]])
    v = torch.tensor([[[5.0, 6.0]], [[7.0, -1.0]]])
    # Task 0: u · v = [[5, 6], [10, 12]]; task 1: [[0, 0], [7, -1]].
    expected = [[[5.0, 12.0], [30.0, 48.0]], [[0.0, 0.0], [21.0, -4.0]]]
    assert compose(shared, u, v).tolist() == expected


def test_two_ranks_add_up_worked_by_hand():
    shared = torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    u = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    v = torch.tensor([[[1.0, 0.0], [0.5, 10.0]]])
    # [1·1 + 2·0.5, 2·10] = [2, 20]; [3·1 + 4·0.5, 4·10] = [5, 40], times [1, 2].
    assert compose(shared, u, v).tolist() == [[[2.0, 20.0], [5.0, 80.0]]]


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_new_factors_leave_shared_unchanged(rank):
    shared = random_prompts(1, 6)[0]
    u, v = neutral_factors(
        3, length=6, hidden_size=32, rank=rank, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(DecomposedPrompts(shared, u, v)([0, 1, 2]), shared.expand(3, 6, 32))


def test_the_mean_of_new_factors_has_the_columns_of_each_task():
    generator = torch.Generator().manual_seed(0)
    u, _ = neutral_factors(22, length=6, hidden_size=32, rank=3, generator=generator)
    averaged = u.mean(dim=0).norm(dim=0)
    assert averaged.min() > 0
    for own in u:
        torch.testing.assert_close(own.norm(dim=0), averaged)


def test_further_ranks_get_different_gradients():
    u, v = neutral_factors(
        2, length=3, hidden_size=4, rank=3, generator=torch.Generator().manual_seed(0)
    )
    module = DecomposedPrompts(torch.ones(3, 4), u, v)
    target = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    (module([0, 1]) * target).sum().backward()
    assert not torch.allclose(module.v.grad[:, 1], module.v.grad[:, 2])


def test_prompts_are_returned_in_the_requested_order():
    u, v = torch.tensor([[[1.0]], [[2.0]], [[3.0]]]), torch.ones(3, 1, 1)
    module = DecomposedPrompts(torch.ones(1, 1), u, v)
    assert module([2, 0]).flatten().tolist() == [3.0, 1.0]


def test_a_task_outside_the_step_gets_no_gradient():
    module = DecomposedPrompts(torch.ones(2, 3), torch.ones(2, 2, 1), torch.ones(2, 1, 3))
    module([1]).sum().backward()
    assert module.u.grad[0].abs().sum() == 0
    assert module.u.grad[1].abs().sum() > 0


def test_an_untrained_shared_prompt_gets_no_gradient():
    module = DecomposedPrompts(
        torch.ones(2, 3), torch.ones(1, 2, 1), torch.ones(1, 1, 3), train_shared=False
    )
    module([0]).sum().backward()
    assert module.shared.grad is None
    assert set(module.parameter_groups()) == {"factors"}
