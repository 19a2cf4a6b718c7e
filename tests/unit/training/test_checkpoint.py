"""A checkpoint is loaded completely, or refused with its name."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from clinprompt.errors import RunError
from clinprompt.files import NotRemovedError
from clinprompt.training.checkpoint import (
    Progress,
    State,
    before,
    load_checkpoint,
    remove_checkpoint,
    resume,
    save_checkpoint,
)
from clinprompt.training.optim import build_optimizer


def made(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return State(parameters, build_optimizer({"all": parameters}, {"all": 0.1}))


def step(state):
    for parameter in state.parameters:
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()


def trained(*shapes, seed=0, steps=3):
    state = made(*shapes, seed=seed)
    step(state)
    best = [p.detach() + 1 for p in state.parameters]
    state.progress = Progress(steps, 40, 1.5, 0.25, 0.125, 2, best)
    return state


def saved(path, *shapes):
    state = trained(*shapes)
    save_checkpoint(path, [state])
    return state


def assert_comes_back(state, found):
    best = zip(found.progress.best, state.progress.best, strict=True)
    assert all(torch.equal(a, b) for a, b in best)
    assert replace(found.progress, best=[]) == replace(state.progress, best=[])
    for _ in range(2):
        step(state)
        step(found)
    assert all(torch.equal(a, b) for a, b in zip(state.parameters, found.parameters, strict=True))


def test_a_saved_state_is_restored_and_continues_the_same(tmp_path):
    state, found = saved(tmp_path / "c", (2, 3), (4,)), made((2, 3), (4,), seed=1)
    load_checkpoint(tmp_path / "c", [found])
    assert_comes_back(state, found)


def test_each_state_of_one_file_is_restored(tmp_path):
    shapes = [((2, 3), (4,)), ((5,),), ((2, 3), (4,))]
    states = [trained(*own, seed=seed, steps=seed + 1) for seed, own in enumerate(shapes)]
    save_checkpoint(tmp_path / "c", states)
    found = [made(*own, seed=7) for own in shapes]
    load_checkpoint(tmp_path / "c", found)
    for one, other in zip(states, found, strict=True):
        assert_comes_back(one, other)


@pytest.mark.parametrize("count", [1, 3])
def test_a_checkpoint_of_fewer_or_more_states_is_refused(count, tmp_path):
    save_checkpoint(tmp_path / "c", [trained((2,)), trained((2,))])
    with pytest.raises(RunError, match="belongs to another run"):
        load_checkpoint(tmp_path / "c", [made((2,)) for _ in range(count)])


def test_missing_losses_are_restored(tmp_path):
    save_checkpoint(tmp_path / "c", [made((2,))])
    found = made((2,), seed=1)
    load_checkpoint(tmp_path / "c", [found])
    assert found.progress.best_loss == float("inf")
    assert found.progress.best == []


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_cut_off_checkpoint_is_refused(kept, tmp_path):
    path = tmp_path / "c"
    saved(path, (2, 3))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunError, match=re.escape(f"{path}: checkpoint is damaged")):
        load_checkpoint(path, [made((2, 3))])


@pytest.mark.parametrize("shapes", [((3, 2),), ((2, 3), (1,)), ((5,),)])
def test_a_checkpoint_of_other_parameters_is_refused(shapes, tmp_path):
    saved(tmp_path / "c", (2, 3))
    with pytest.raises(RunError, match="belongs to another run"):
        load_checkpoint(tmp_path / "c", [made(*shapes)])


def test_a_checkpoint_is_never_stretched_to_larger_parameters(tmp_path):
    saved(tmp_path / "c", (1, 3))
    with pytest.raises(RunError, match="belongs to another run"):
        load_checkpoint(tmp_path / "c", [made((2, 3))])


def test_a_checkpoint_of_more_parameters_is_refused(tmp_path):
    saved(tmp_path / "c", (2, 3), (4,))
    with pytest.raises(RunError, match="belongs to another run"):
        load_checkpoint(tmp_path / "c", [made((2, 3))])


def two_saved(path):
    """Save a state and then one more step; return both as they were."""
    first, second = trained((2, 3), steps=1), trained((2, 3), steps=2)
    step(second)
    save_checkpoint(path, [first])
    save_checkpoint(path, [second])
    return first, second


def test_training_resumes_from_the_last_checkpoint(tmp_path):
    _, second = two_saved(tmp_path / "c")
    found, said = made((2, 3), seed=1), []
    assert resume(tmp_path / "c", [found], said.append)
    assert_comes_back(second, found)
    assert not said


@pytest.mark.parametrize("place", [0, 5, 200, -1, -30])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, place):
    """One bit is changed: in the header, or in a tensor, where nothing else would show it."""
    path = tmp_path / "c"
    first, _ = two_saved(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    found, said = made((2, 3), seed=1), []
    assert resume(path, [found], said.append)
    assert said == [f"{path}: was damaged and is removed; the checkpoint before it is used"]
    assert_comes_back(first, found)
    save_checkpoint(path, [trained((2, 3), steps=2)])
    assert before(path).is_file(), "the damaged one never becomes the one before"
    again = made((2, 3), seed=1)
    load_checkpoint(before(path), [again])
    assert again.progress.step == 1


def test_a_process_that_was_killed_while_it_replaced_a_checkpoint_resumes_from_the_one_before(
    tmp_path,
):
    path = tmp_path / "c"
    first, _ = two_saved(path)
    path.unlink()
    found = made((2, 3), seed=1)
    assert resume(path, [found], print)
    assert_comes_back(first, found)


def test_without_a_checkpoint_nothing_is_resumed(tmp_path):
    assert not resume(tmp_path / "c", [made((2, 3))], print)


def test_two_damaged_checkpoints_are_refused_with_their_name(tmp_path):
    two_saved(tmp_path / "c")
    for path in (tmp_path / "c", before(tmp_path / "c")):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="checkpoint is damaged"):
        resume(tmp_path / "c", [made((2, 3))], print)


def test_a_checkpoint_is_removed_with_all_that_was_written_of_it(tmp_path):
    two_saved(tmp_path / "c")
    (tmp_path / ".c.123.part").touch()
    remove_checkpoint(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path):
    path = tmp_path / "c"
    saved(path, (2, 3))
    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        metadata = stored.metadata()
    del metadata["checksum"]
    for kept in (metadata, None):
        save_file(tensors, path, metadata=kept)
        with pytest.raises(RunError, match="checkpoint is damaged"):
            load_checkpoint(path, [made((2, 3))])


@pytest.mark.parametrize("name", ["run.safetensors", "run.safetensors.before"])
def test_a_checkpoint_that_cannot_be_removed_is_named_with_a_remedy(tmp_path, monkeypatch, name):
    stuck, unlink = tmp_path / name, Path.unlink
    stuck.touch()

    def broken(path, **options):
        if path == stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(NotRemovedError, match=f"checkpoint .*{name}.*run the same command again"):
        remove_checkpoint(tmp_path / "run.safetensors")
