"""The loop takes functions: here, the loss is a parabola."""

import os
import signal

import pytest
import torch
from tiny import place_in
from torch import nn

from clinprompt.errors import RunError
from clinprompt.training.loop import Schedule, StepResult, Trainable, train
from clinprompt.training.progress import Silent


def fit_one(parameter, step, schedule, files, *, validate=None):
    """Train one parameter under the name of its phase."""
    trained = Trainable(files.phase, {"all": [parameter]}, schedule, validate)
    [progress] = train([trained], lambda number, _: [step(number)], files)
    return progress


def descent(parameter, numbers=None):
    def step(number):
        if numbers is not None:
            numbers.append(number)
        loss = (parameter - 3.0).square().sum()
        loss.backward()
        return StepResult(loss.item(), tokens=7)

    return step


def test_the_loop_descends_and_counts(tmp_path):
    parameter, numbers = nn.Parameter(torch.zeros(1)), []
    schedule = Schedule(steps=60, rates={"all": 0.3})
    progress = fit_one(parameter, descent(parameter, numbers), schedule, place_in(tmp_path))
    assert parameter.item() == pytest.approx(3, abs=0.1)
    assert numbers == list(range(60))
    assert (progress.step, progress.tokens) == (60, 60 * 7)


def test_zero_steps_change_nothing(tmp_path):
    parameter = nn.Parameter(torch.zeros(1))
    schedule = Schedule(steps=0, rates={"all": 0.3})
    fit_one(parameter, descent(parameter), schedule, place_in(tmp_path))
    assert parameter.item() == 0


def test_the_best_state_is_restored(tmp_path):
    parameter, losses = nn.Parameter(torch.zeros(1)), iter([5.0, 1.0, 2.0, 3.0])
    seen = []

    def validate():
        seen.append(parameter.item())
        return next(losses)

    schedule = Schedule(steps=4, rates={"all": 0.3}, validate_every=1)
    files = place_in(tmp_path)
    progress = fit_one(parameter, descent(parameter), schedule, files, validate=validate)
    assert progress.best_step == 2
    assert parameter.item() == seen[1]


@pytest.mark.parametrize("averaged", [1, 3, 5])
def test_the_mean_of_the_last_states_is_the_result(tmp_path, averaged):
    states = []

    def step(number):
        states.append(parameter.item())
        return descent(parameter)(number)

    parameter = nn.Parameter(torch.zeros(1))
    schedule = Schedule(steps=5, rates={"all": 0.3}, decay="constant", averaged_steps=averaged)
    fit_one(parameter, step, schedule, place_in(tmp_path))
    alone = nn.Parameter(torch.zeros(1))
    plain = Schedule(steps=5, rates={"all": 0.3}, decay="constant")
    fit_one(alone, descent(alone), plain, place_in(tmp_path / "alone"))
    after_each_step = [*states[1:], alone.item()]
    expected = sum(after_each_step[-averaged:]) / averaged
    assert parameter.item() == pytest.approx(expected, rel=1e-6)


def test_the_best_state_goes_before_the_mean(tmp_path):
    parameter, losses = nn.Parameter(torch.zeros(1)), iter([1.0, 2.0])
    seen = []

    def validate():
        seen.append(parameter.item())
        return next(losses)

    schedule = Schedule(steps=2, rates={"all": 0.3}, validate_every=1, averaged_steps=2)
    fit_one(parameter, descent(parameter), schedule, place_in(tmp_path), validate=validate)
    assert parameter.item() == seen[0]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, loss):
    parameter = nn.Parameter(torch.zeros(1))

    def step(number):
        parameter.grad = torch.ones(1)
        return StepResult(loss, tokens=1)

    schedule = Schedule(steps=3, rates={"all": 0.1}, checkpoint_every=1)
    message = r"phase: the loss is .* at step 1, with learning rate 0\.1; lower the learning rate"
    with pytest.raises(RunError, match=message):
        fit_one(parameter, step, schedule, place_in(tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_gradient_that_is_no_number_never_reaches_a_checkpoint(tmp_path):
    parameter = nn.Parameter(torch.zeros(1))

    def step(number):
        parameter.grad = torch.tensor([float("inf")])
        return StepResult(0.5, tokens=1)

    schedule = Schedule(steps=1, rates={"all": 0.1}, checkpoint_every=1)
    with pytest.raises(RunError, match="lower the learning rate"):
        fit_one(parameter, step, schedule, place_in(tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_no_number_leaves_the_state_before_it(tmp_path, what):
    """Step 4 is no number once, as after a fault of the chip; the next try ends as if unbroken."""
    schedule = Schedule(steps=6, rates={"all": 0.3}, decay="constant", checkpoint_every=25)

    def run(folder, broken_at=None):
        parameter, numbers = nn.Parameter(torch.zeros(1)), []
        descend = descent(parameter, numbers)

        def step(number):
            found = descend(number)
            if number != broken_at:
                return found
            if what == "gradient":
                parameter.grad.fill_(float("nan"))
                return found
            return StepResult(float("nan"), tokens=7)

        trained = Trainable("a", {"all": [parameter]}, schedule, tasks=lambda at: ("x", f"y{at}"))
        train([trained], lambda number, _: [step(number)], place_in(folder))
        return parameter.item(), numbers

    message = (
        f"a: the {what} is nan at step 4, with learning rate 0.3, on rows of x, y3; lower the "
        "learning rate in a new folder"
    )
    with pytest.raises(RunError, match=message):
        run(tmp_path / "broken", broken_at=3)
    value, numbers = run(tmp_path / "broken")
    assert numbers == [3, 4, 5]
    assert value == run(tmp_path / "whole")[0]


def test_each_learning_rate_is_named_if_a_step_is_no_number(tmp_path):
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = {"shared": parameters[:1], "factors": parameters[1:]}
    schedule = Schedule(steps=2, rates={"shared": 0.2, "factors": 0.04}, decay="linear")

    def step(number, _):
        for parameter in parameters:
            parameter.grad = torch.ones(1)
        return [StepResult(1.0 if number == 0 else float("inf"), tokens=1)]

    message = r"the loss is inf at step 2, with learning rate factors 0\.02, shared 0\.1;"
    with pytest.raises(RunError, match=message):
        train([Trainable("a", groups, schedule)], step, place_in(tmp_path))


def test_a_damaged_checkpoint_does_not_end_a_run(tmp_path):
    """Training goes on from the checkpoint before it, says so, and ends as if unbroken."""
    schedule = Schedule(steps=7, rates={"all": 0.3}, checkpoint_every=2)

    def run(folder, stop_at=None, reporter=None):
        parameter = nn.Parameter(torch.zeros(1))
        descend = descent(parameter)

        def step(number):
            if number == stop_at:
                raise KeyError
            return descend(number)

        files = place_in(folder, reporter=reporter)
        fit_one(parameter, step, schedule, files)
        rows = [(row["step"], row["loss"]) for row in files.log.rows()]
        return parameter.item(), rows

    with pytest.raises(KeyError):
        run(tmp_path / "broken", stop_at=5)
    path = tmp_path / "broken" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    reporter = Heard()
    assert run(tmp_path / "broken", reporter=reporter) == run(tmp_path / "whole")
    assert reporter.said == [
        f"{path}: was damaged and is removed; the checkpoint before it is used",
        "phase: resuming after step 2 of 7",
    ]


class Heard(Silent):
    """Keep what was said."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def test_a_large_gradient_is_clipped(tmp_path):
    parameter = nn.Parameter(torch.zeros(2))

    def step(number):
        parameter.grad = torch.tensor([30.0, 40.0])
        return StepResult(1.0, tokens=1)

    files = place_in(tmp_path)
    fit_one(parameter, step, Schedule(steps=1, rates={"all": 0.1}, clip_norm=1.0), files)
    assert files.log.rows()[0]["gradient_norm"] == pytest.approx(50)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]), rtol=1e-4, atol=1e-4)


def test_members_have_their_own_steps_norms_and_seconds(tmp_path):
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    steps_taken = []

    def step(number, active):
        steps_taken.append((number, tuple(active)))
        for index in active:
            parameters[index].grad = torch.tensor([30.0, 40.0]) / (1 + 499 * index)
        return [StepResult(1.0 + index, tokens=7 * (1 + 2 * index)) for index in active]

    members = [
        Trainable(name, {"all": [parameter]}, Schedule(steps=steps, rates={"all": 0.1}))
        for name, parameter, steps in zip("ab", parameters, (1, 3), strict=True)
    ]
    found = train(members, step, place_in(tmp_path))
    assert steps_taken == [(0, (0, 1)), (1, (1,)), (2, (1,))]
    assert [(own.step, own.tokens, own.last_loss) for own in found] == [(1, 7, 1), (3, 63, 2)]
    rows = place_in(tmp_path).log.rows()
    assert [row["phase"] for row in rows] == ["a", "b", "b", "b"]
    assert [row["gradient_norm"] for row in rows[:2]] == pytest.approx([50, 0.1])
    assert rows[1]["seconds"] == pytest.approx(3 * rows[0]["seconds"])
    # 50 is scaled to 1, 0.1 stays.
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.8]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.06, 0.08]))


def on_signal(number, _):
    """End as the command line does on SIGTERM."""
    raise SystemExit(128 + number)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("place", ["step", "validate"])
def test_an_interrupted_run_writes_a_checkpoint_and_continues_as_if_unbroken(
    tmp_path, number, raised, place
):
    """The signal comes while step 3 is computed, or while the state after step 3 is validated."""
    schedule = Schedule(steps=5, rates={"all": 0.3}, validate_every=3, checkpoint_every=25)

    def run(folder, interrupted_in=""):
        parameter, numbers = nn.Parameter(torch.zeros(1)), []
        descend = descent(parameter, numbers)

        def step(at):
            if interrupted_in == "step" and at == 3:
                os.kill(os.getpid(), number)
            return descend(at)

        def validate():
            if interrupted_in == "validate":
                os.kill(os.getpid(), number)
            return parameter.item()

        files = place_in(folder)
        fit_one(parameter, step, schedule, files, validate=validate)
        return parameter.item(), numbers, files.log.rows()

    before = signal.signal(signal.SIGTERM, on_signal)
    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(raised):
            run(tmp_path / "stopped", place)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, own)
    assert (tmp_path / "stopped" / "checkpoint.safetensors").is_file()
    value, numbers, rows = run(tmp_path / "stopped")
    whole, _, all_rows = run(tmp_path / "whole")
    assert (value, numbers) == (whole, [3, 4])
    kept = ("loss", "validation_loss", "step")
    assert [[row.get(key) for key in kept] for row in rows] == [
        [row.get(key) for key in kept] for row in all_rows
    ]


@pytest.mark.parametrize(("every", "at"), [(0, 2), (25, 0)])
def test_no_checkpoint_is_written_if_none_is_wanted_or_nothing_was_done(tmp_path, every, at):
    parameter = nn.Parameter(torch.zeros(1))
    descend = descent(parameter)

    def step(number):
        if number == at:
            raise KeyboardInterrupt
        return descend(number)

    schedule = Schedule(steps=5, rates={"all": 0.3}, checkpoint_every=every)
    with pytest.raises(KeyboardInterrupt):
        fit_one(parameter, step, schedule, place_in(tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()
