"""A checkpoint comes back whole or is refused by name."""

import re

import pytest
import torch
from torch import nn

from clinprompt.errors import RunError
from clinprompt.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from clinprompt.training.optim import build_optimizer


def made(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return parameters, build_optimizer({"all": parameters}, {"all": 0.1})


def step(parameters, optimizer):
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def saved(path, *shapes):
    parameters, optimizer = made(*shapes)
    step(parameters, optimizer)
    best = [p.detach() + 1 for p in parameters]
    progress = Progress(3, 40, 1.5, 0.25, 0.125, 2, best)
    save_checkpoint(path, parameters, optimizer, progress)
    return parameters, optimizer, progress


def test_a_state_comes_back_and_goes_on_the_same(tmp_path):
    parameters, optimizer, progress = saved(tmp_path / "c", (2, 3), (4,))
    others, other_optimizer = made((2, 3), (4,), seed=1)
    found = load_checkpoint(tmp_path / "c", others, other_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(found.best, progress.best, strict=True))
    found.best = progress.best
    assert found == progress
    for _ in range(2):
        step(parameters, optimizer)
        step(others, other_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))


def test_losses_that_are_not_measured_yet_come_back(tmp_path):
    parameters, optimizer = made((2,))
    save_checkpoint(tmp_path / "c", parameters, optimizer, Progress())
    found = load_checkpoint(tmp_path / "c", parameters, optimizer)
    assert found.best_loss == float("inf")
    assert found.best == []


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_cut_off_checkpoint_is_refused(kept, tmp_path):
    path = tmp_path / "c"
    saved(path, (2, 3))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunError, match=re.escape(f"{path}: checkpoint damaged")):
        load_checkpoint(path, *made((2, 3)))


@pytest.mark.parametrize("shapes", [((3, 2),), ((2, 3), (1,)), ((5,),)])
def test_a_checkpoint_of_other_parameters_is_refused(shapes, tmp_path):
    saved(tmp_path / "c", (2, 3))
    with pytest.raises(RunError, match="of another run"):
        load_checkpoint(tmp_path / "c", *made(*shapes))


def test_a_checkpoint_is_never_stretched_to_larger_parameters(tmp_path):
    saved(tmp_path / "c", (1, 3))
    with pytest.raises(RunError, match="of another run"):
        load_checkpoint(tmp_path / "c", *made((2, 3)))


def test_a_checkpoint_of_more_parameters_is_refused(tmp_path):
    saved(tmp_path / "c", (2, 3), (4,))
    with pytest.raises(RunError, match="of another run"):
        load_checkpoint(tmp_path / "c", *made((2, 3)))
