"""Each group has its own rate, warmed up and decayed."""

import pytest
import torch
from torch import nn

from clinprompt.errors import SettingError
from clinprompt.training.optim import build_optimizer, rate_factor, set_rates


def factors(decay, *, steps=6, warmup_steps=2):
    return [
        rate_factor(step, steps=steps, warmup_steps=warmup_steps, decay=decay)
        for step in range(steps)
    ]


def test_a_rate_rises_then_decays():
    third = pytest.approx(1 / 3)
    assert factors("constant") == [third, pytest.approx(2 / 3), 1.0, 1.0, 1.0, 1.0]
    assert factors("linear")[2:] == [1.0, 0.75, 0.5, 0.25]
    # ½ (1 + cos of 0, 45, 90 and 135 degrees).
    assert factors("cosine")[2:] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_no_step_is_wasted_on_a_rate_of_zero(decay):
    for steps, warmup_steps in [(1, 0), (1, 5), (3, 3), (10, 9), (2, 0)]:
        assert min(factors(decay, steps=steps, warmup_steps=warmup_steps)) > 0


@pytest.mark.parametrize(("steps", "reached"), [(8, 4), (3, 1), (1, 0)])
def test_a_warm_up_takes_at_most_half_of_the_steps(steps, reached):
    found = factors("constant", steps=steps, warmup_steps=10)
    assert found.index(1.0) == reached


def test_each_group_trains_at_its_own_rate():
    groups = {"slow": [nn.Parameter(torch.zeros(1))], "fast": [nn.Parameter(torch.zeros(1))]}
    rates = {"slow": 0.01, "fast": 0.5}
    optimizer = build_optimizer(groups, rates)
    set_rates(optimizer, rates, 0.5)
    for [parameter] in groups.values():
        parameter.grad = torch.ones(1)
    optimizer.step()
    # Adam's first step is the rate itself, against the gradient's sign.
    assert groups["slow"][0].item() == pytest.approx(-0.005, rel=1e-4)
    assert groups["fast"][0].item() == pytest.approx(-0.25, rel=1e-4)


@pytest.mark.parametrize("rates", [{"factors": 0.1}, {"shared": 0.1, "shraed": 0.1}])
def test_a_rate_without_its_group_is_an_error(rates):
    with pytest.raises(SettingError, match="learning rate"):
        build_optimizer({"shared": [nn.Parameter(torch.zeros(1))]}, rates)
