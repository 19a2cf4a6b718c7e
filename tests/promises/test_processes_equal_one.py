"""Several processes that divide the rows of each step train what one process trains."""

import os
import signal
import sys
import tempfile
from time import monotonic

import numpy as np
import pytest
import torch
from several_processes import in_processes
from tiny import place_in, random_prompts, random_rows

from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.ranks import LostProcessError
from clinprompt.backbone.tuners import PromptTuner, lora
from clinprompt.errors import RunError
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.checkpoint import before
from clinprompt.training.divided import owners_of
from clinprompt.training.fit import fit_together, mean_loss
from clinprompt.training.losses import task_loss
from clinprompt.training.member import FitMember, FitSpec
from clinprompt.training.progress import Silent

UNEVEN = random_rows([(6, 2), (40, 3), (9, 1), (5, 5), (3, 1)])
OTHER = random_rows([(12, 7), (4, 2)], seed=1)
HELD_OUT = random_rows([(5, 2), (16, 1), (2, 6)], seed=2)
SOON = 20  # seconds; alone, it takes less than one


@pytest.fixture(autouse=True)
def temporary_folders(tmp_path, monkeypatch):
    """Keep the private folder of a process that is killed out of the system's."""
    folder = tmp_path / "private"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def member(name, rows, *, num_rows=4, steps=1, loss=None, validate_every=0, seed=0, **changes):
    """Return a metaprompt to train on the rows of each task; its gradient is not clipped."""
    factors = neutral_factors(
        len(rows), length=3, hidden_size=32, rank=2, generator=torch.Generator().manual_seed(0)
    )
    tuner = PromptTuner(DecomposedPrompts(random_prompts(1, 3)[0], *factors))
    settings = FitSettings(
        steps=steps,
        rows=num_rows,
        **{"warmup_steps": 0, "clip_norm": 1e9, "row_weights": "token", **changes},
    )
    rates = {"shared": 0.05, "factors": 0.02}
    spec = FitSpec(settings, rates, seed, *([loss] if loss else []), validate_every=validate_every)
    return FitMember(name, tuner, rows, spec, HELD_OUT if validate_every else ())


def numbers_of(one):
    """Return the trained numbers of a member, and their gradients."""
    parameters = [p for group in one.tuner.parameter_groups().values() for p in group]
    own = [p.detach().numpy() for p in parameters]
    return own, [
        np.zeros_like(a) if p.grad is None else p.grad.numpy()
        for a, p in zip(own, parameters, strict=True)
    ]


def trained(backbone, folder, members, *, reporter=None):
    """Train members; return what one process knows at the end."""
    progress = fit_together(backbone, members, place_in(folder, reporter=reporter))
    log = [
        {key: value for key, value in row.items() if key not in ("seconds", "padding")}
        for row in place_in(folder).log.rows()
    ]
    return [one.last_loss for one in progress], [numbers_of(one) for one in members], log


def assert_same(found, expected, *, loss=1e-6, gradient=1e-5):
    """Compare losses and log lines, each number, and the gradients, by their norm."""
    assert found[0] == pytest.approx(expected[0], rel=loss)
    for (_, ours), (_, theirs) in zip(found[1], expected[1], strict=True):
        own, other = (
            np.concatenate([*map(np.ravel, ours)]),
            np.concatenate([*map(np.ravel, theirs)]),
        )
        assert np.linalg.norm(own - other) <= gradient * np.linalg.norm(other)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        assert ours.pop("phase") == theirs["phase"]
        assert ours == pytest.approx({key: theirs[key] for key in ours}, rel=10 * gradient)
        assert ours.keys() | {"phase"} == theirs.keys()


def test_rows_go_to_the_process_with_the_fewest_tokens():
    """40 to the first; 30, 9 and 8 to the second, which then has 47; 5 to the first."""
    assert owners_of([8, 40, 9, 5, 30], 2) == [1, 0, 1, 0, 1]
    assert owners_of([7, 7], 3) == [0, 1]
    assert owners_of([], 2) == []


@pytest.mark.parametrize("processes", [2, 3])
def test_loss_and_gradient_of_a_step_equal_those_of_one_process(backbone, tmp_path, processes):
    def work(rank):
        made = member("a", [UNEVEN, OTHER], num_rows=7)
        return trained(backbone, tmp_path / str(rank), [made])

    expected = work("one")
    assert all(np.abs(gradient[-1]).max() > 0 for gradient in expected[1][0][1]), "both tasks"
    first, *others = in_processes(processes, work)
    assert_same(first, expected)
    for other in others:
        assert other[0] == first[0]
        assert all(
            np.array_equal(a, b) for a, b in zip(other[1][0][0], first[1][0][0], strict=True)
        )


def test_members_that_are_trained_side_by_side_equal_those_of_one_process(precise, tmp_path):
    """In float64, where several steps do not enlarge what rounding changes."""
    precise.model.double()

    def members():
        made = [member("a", [UNEVEN, OTHER], steps=4), member("b", [OTHER], steps=2, num_rows=1)]
        for one in made:
            one.tuner.module.double()
        return made

    expected = trained(precise, tmp_path / "one", members())
    [first, _] = in_processes(2, lambda rank: trained(precise, tmp_path / str(rank), members()))
    assert_same(first, expected)


def test_a_process_without_rows_adds_nothing(tiny_llama, tmp_path):
    def run(rank):
        return trained(tiny_llama, tmp_path / str(rank), [member("a", [UNEVEN], num_rows=1)])

    expected = run("one")
    for found in in_processes(3, run):
        assert_same(found, expected)


def test_weights_of_the_backbone_are_divided_too(tiny_llama, tmp_path):
    def run(rank):
        with lora(tiny_llama, rank=2, modules=("q_proj", "v_proj"), seed=5) as tuner:
            spec = FitSpec(member("", [UNEVEN]).spec.settings, {"lora": 0.05}, 0)
            return trained(
                tiny_llama, tmp_path / str(rank), [FitMember("a", tuner, [UNEVEN], spec)]
            )

    expected = run("one")
    [first, _] = in_processes(2, run)
    assert_same(first, expected)


def test_validation_is_divided_and_chooses_the_same_state(tiny_llama, tmp_path):
    tuner = PromptTuner(SoftPrompts(random_prompts(1, 3)))

    def run(rank):
        means = [mean_loss(tiny_llama, tuner, rows) for rows in (HELD_OUT, HELD_OUT[:1])]
        made = member("a", [UNEVEN], steps=4, validate_every=2)
        [progress] = fit_together(tiny_llama, [made], place_in(tmp_path / str(rank)))
        return means, progress.best_step, progress.best_loss

    expected = run("one")
    first, second = in_processes(2, run)
    assert first == second
    assert first[0] == pytest.approx(expected[0], rel=1e-6)
    assert first[1] == expected[1]
    assert first[2] == pytest.approx(expected[2], rel=1e-4)


class FailsIn:
    """The task loss, which raises an error in one process at one call."""

    def __init__(self, error, *, process, call):
        self.error, self.process, self.call, self.seen, self.rank = error, process, call, [], 0

    def __call__(self, batch, states):
        self.seen.append(len(batch.tasks))
        if self.rank == self.process and len(self.seen) == self.call:
            raise self.error
        return {"task": task_loss(states.logits, states.labels)}


FULL = RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory")


def test_if_memory_is_full_in_one_process_all_repeat_the_step(tiny_llama, tmp_path):
    """Each process has two of four rows of 16 tokens; the second one fails at its first batch."""
    rows = random_rows([(12, 4)] * 4)

    def run(rank, call=1):
        fails = FailsIn(FULL, process=1, call=call)
        fails.rank = rank
        made = member("a", [rows], steps=2, loss=Loss(fails, {"task": 1.0}))
        return trained(tiny_llama, tmp_path / str(rank), [made]), fails.seen

    expected, _ = run(7)
    for found, seen in in_processes(2, run):
        assert_same(found, expected)
        assert seen == [2, 1, 1, 1, 1]


def test_if_one_row_does_not_fit_all_end_with_the_same_error(tiny_llama, tmp_path):
    def run(rank):
        fails = FailsIn(FULL, process=1, call=1)
        fails.rank = rank
        made = member("a", [OTHER], num_rows=2, loss=Loss(fails, {"task": 1.0}))
        trained(tiny_llama, tmp_path / str(rank), [made])

    for error in in_processes(2, run):
        assert "not enough memory at step 1 for one row of at most 19 tokens" in str(error)


def test_an_error_in_one_process_ends_the_other_which_keeps_its_state(tiny_llama, tmp_path):
    def run(rank):
        fails = FailsIn(ValueError("a mistake of ours"), process=1, call=3)
        fails.rank = rank
        made = member("a", [UNEVEN], steps=9, checkpoint_every=100, loss=Loss(fails, {"task": 1.0}))
        trained(tiny_llama, tmp_path / str(rank), [made])

    started = monotonic()
    first, second = in_processes(2, run)
    assert monotonic() - started < SOON
    assert isinstance(second, ValueError)
    assert isinstance(first, RunError)
    assert "process 1 of 2: another process of this run has ended" in str(first)
    found = trained(tiny_llama, tmp_path / "0", [member("a", [UNEVEN], steps=9)])
    assert [row["step"] for row in found[2]] == [*range(1, 10)]
    whole = trained(tiny_llama, tmp_path / "one", [member("a", [UNEVEN], steps=9)])
    assert found[2][1]["loss"] == pytest.approx(whole[2][1]["loss"], rel=1e-4)


class AtStep(Silent):
    """Do something after so many steps."""

    def __init__(self, step, action):
        self.left, self.action = step, action

    def advance(self, **_):
        self.left -= 1
        if self.left == 0:
            self.action()


@pytest.mark.parametrize("ended", ["all", "the first"])
def test_a_signal_ends_all_and_the_first_process_writes_its_checkpoint(tiny_llama, tmp_path, ended):
    """As torchrun does it: it sends SIGTERM to all, or to the others when one has ended."""

    def run(rank):
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        is_ended = ended == "all" or rank == 0
        reporter = AtStep(3, lambda: is_ended and os.kill(os.getpid(), signal.SIGTERM))
        made = member("a", [UNEVEN], steps=90, checkpoint_every=100)
        trained(tiny_llama, tmp_path / str(rank), [made], reporter=reporter)

    started = monotonic()
    first, second = in_processes(2, run)
    assert monotonic() - started < SOON
    assert isinstance(first, SystemExit)
    assert isinstance(second, SystemExit if ended == "all" else RunError)
    checkpoint = place_in(tmp_path / "0").checkpoint
    assert checkpoint.is_file()
    assert not before(checkpoint).exists()
    assert not place_in(tmp_path / "1").checkpoint.exists(), "only the first process writes"


def test_parameters_that_differ_end_the_run_at_the_next_checkpoint(tiny_llama, tmp_path):
    def run(rank):
        made = member("a", [UNEVEN], steps=9, checkpoint_every=4)

        def drift():
            if rank == 1:
                made.tuner.module.shared.data += 1e-6

        trained(tiny_llama, tmp_path / str(rank), [made], reporter=AtStep(3, drift))

    for error in in_processes(2, run):
        assert isinstance(error, RunError)
        assert "processes 1 and 2 of 2 differ in parameters; all need the same" in str(error)
    assert not place_in(tmp_path / "0").checkpoint.exists()


def test_processes_begin_with_the_parameters_of_the_first(tiny_llama, tmp_path):
    def run(rank):
        made = member("a", [UNEVEN])
        made.tuner.module.shared.data += rank
        return trained(tiny_llama, tmp_path / str(rank), [made])

    expected = trained(tiny_llama, tmp_path / "one", [member("a", [UNEVEN])])
    for found in in_processes(2, run):
        assert_same(found, expected)


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        ({"seed": 1}, "rows, settings"),
        ({"rows": [OTHER]}, "rows"),
        ({"name": "b"}, "phase"),
    ],
)
def test_processes_that_train_something_else_are_refused(tiny_llama, tmp_path, other, differing):
    def run(rank):
        made = member(**{"name": "a", "rows": [UNEVEN], **(other if rank else {})})
        trained(tiny_llama, tmp_path / str(rank), [made])

    for error in in_processes(2, run):
        assert f"processes 1 and 2 of 2 differ in {differing}; all need the same" in str(error)


def test_a_process_that_ends_before_the_others_is_noticed(tiny_llama, tmp_path):
    """One process thinks that all is finished, the other one begins to train."""

    def run(rank):
        if rank:
            trained(tiny_llama, tmp_path / str(rank), [member("a", [UNEVEN])])

    started = monotonic()
    for error in in_processes(2, run):
        assert isinstance(error, RunError)
        assert not isinstance(error, LostProcessError)
        assert "differ in backbone, phase, rows, settings, work" in str(error)
    assert monotonic() - started < SOON


def test_a_killed_process_ends_the_other(tiny_llama, tmp_path):
    def run(rank):
        def kill():
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        made = member("a", [UNEVEN], steps=9)
        trained(tiny_llama, tmp_path / str(rank), [made], reporter=AtStep(2, kill))

    first, second = in_processes(2, run)
    assert "another process of this run has ended" in str(first)
    assert isinstance(second, EOFError)
    assert place_in(tmp_path / "0").checkpoint.is_file()
