"""Prompts that are trained side by side end as each would alone; a finished one leaves."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny import KillAfter, Killed, place_in, random_prompts, random_rows

from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.tuners import PeftPromptTuner, PromptTuner
from clinprompt.errors import RunError
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import fit, fit_together
from clinprompt.training.member import FitMember, FitSpec

LENGTH = 3
PLACEMENTS = ("prefix", "suffix", "layers")
SETTINGS = FitSettings(
    rows=3, warmup_steps=2, decay="cosine", checkpoint_every=2, micro_batch_tokens=40
)
STEPS = (6, 3, 0, 5)
ROWS = (
    random_rows([(6, 2), (4, 3), (9, 1), (5, 5)]),
    random_rows([(3, 2), (12, 2)], seed=1),
    random_rows([(4, 4)], seed=2),
    random_rows([(7, 1), (2, 6), (8, 3)], seed=3),
)


@pytest.fixture
def precise(backbone):
    """Each architecture in float64, so that what differs differs by more than rounding."""
    model = deepcopy(backbone.model).double()
    if model.config.model_type == "gpt_oss":
        model.set_experts_implementation("eager")  # the other one knows no float64
    return replace(backbone, model=model)


def start(backbone, placement, *, seed=0):
    """Return a prompt [1, P, W] for a place."""
    prompts = random_prompts(1, LENGTH, seed=seed)
    return to_layer_prompts(backbone.model, prompts) if placement == "layers" else prompts


def decomposed(backbone, placement, *, train_shared):
    shared = start(backbone, placement, seed=5)[0]
    generator = torch.Generator().manual_seed(1)
    width = shared.shape[1]
    factors = neutral_factors(1, length=LENGTH, hidden_size=width, rank=2, generator=generator)
    return PromptTuner(DecomposedPrompts(shared, *factors, train_shared=train_shared), placement)


def members_of(backbone, placement, *, steps=STEPS, **changes):
    """Return a member of each kind: a plain prompt, factors, a metaprompt, and PEFT's prompt."""
    made = (
        (PromptTuner(SoftPrompts(start(backbone, placement)), placement), {"prompt": 0.05}),
        (decomposed(backbone, placement, train_shared=False), {"factors": 0.02}),
        (
            decomposed(backbone, placement, train_shared=True),
            {"shared": 0.01, "factors": 0.03},
        ),
        (PeftPromptTuner(backbone, length=LENGTH, rank=2, seed=4), {"mpt": 0.1}),
    )
    return [
        FitMember(
            f"cell-{seed}",
            tuner,
            [rows],
            FitSpec(
                SETTINGS.model_copy(update={"steps": own, **changes}),
                rates,
                seed,
                validate_every=2,
            ),
            random_rows([(5, 2), (6, 1)], seed=9) if seed == 0 else (),
        )
        for seed, ((tuner, rates), rows, own) in enumerate(zip(made, ROWS, steps, strict=True))
    ]


def numbers_of(member):
    return [p for group in member.tuner.parameter_groups().values() for p in group]


def alone(backbone, members, folder):
    return [fit(backbone, one, place_in(folder / one.name, phase=one.name)) for one in members]


def log_of(folder, phase):
    """Return the log of a phase, without durations and padding."""
    unlike = ("phase", "seconds", "padding")
    rows = [row for row in place_in(folder).log.rows() if row["phase"] == phase]
    return [{key: value for key, value in row.items() if key not in unlike} for row in rows]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_prompts_trained_side_by_side_end_as_each_would_alone(precise, placement, tmp_path):
    single, joint = (members_of(precise, placement) for _ in range(2))
    expected = alone(precise, single, tmp_path)
    found = fit_together(precise, joint, place_in(tmp_path))
    for one, other, before, after in zip(single, joint, expected, found, strict=True):
        for a, b in zip(numbers_of(one), numbers_of(other), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)
        assert (after.step, after.tokens) == (before.step, before.tokens)
        logs = zip(log_of(tmp_path / one.name, one.name), log_of(tmp_path, one.name), strict=True)
        for row, same in logs:
            assert same == pytest.approx(row, rel=1e-5)
    assert [progress.step for progress in found] == list(STEPS)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_one_step_gives_each_prompt_its_own_loss_and_gradient(backbone, placement, tmp_path):
    """In float32, and with gradients of unlike size scaled down by each one's own norm."""
    single, joint = (members_of(backbone, placement, steps=(1,) * 4) for _ in range(2))
    expected = alone(backbone, single, tmp_path)
    found = fit_together(backbone, joint, place_in(tmp_path))
    for one, other, before, after in zip(single, joint, expected, found, strict=True):
        assert after.last_loss == pytest.approx(before.last_loss, rel=1e-5)
        gradients = [[p.grad.flatten() for p in numbers_of(each)] for each in (one, other)]
        expected_gradient, gradient = map(torch.cat, gradients)
        assert gradient.norm() <= SETTINGS.clip_norm * 1.001
        error = (gradient - expected_gradient).norm() / expected_gradient.norm()
        assert error < 1e-4


def trained(backbone, folder, reporter=None, *, every=2):
    members = members_of(backbone, "prefix", checkpoint_every=every)
    progress = fit_together(backbone, members, place_in(folder, reporter=reporter))
    numbers = [p.detach().clone() for one in members for p in numbers_of(one)]
    logs = [log_of(folder, one.name) for one in members]
    return numbers, [(own.step, own.tokens, own.last_loss) for own in progress[:2]], logs


@pytest.mark.parametrize("kills", [(1,), (3,), (4,), (6,), (3, 2)])
@pytest.mark.parametrize("every", [1, 2, 100])
def test_a_resumed_group_equals_an_unbroken_one(tiny_llama, tmp_path, kills, every):
    unbroken = trained(tiny_llama, tmp_path / "unbroken", every=every)
    for steps in kills:
        with pytest.raises(Killed):
            trained(tiny_llama, tmp_path / "broken", KillAfter(steps), every=every)
    numbers, *rest = trained(tiny_llama, tmp_path / "broken", every=every)
    assert all(torch.equal(a, b) for a, b in zip(numbers, unbroken[0], strict=True))
    assert rest == list(unbroken[1:])


def test_seconds_are_shared_by_tokens(tiny_llama, tmp_path):
    fit_together(tiny_llama, members_of(tiny_llama, "prefix"), place_in(tmp_path))
    first = [row for row in place_in(tmp_path).log.rows() if row["step"] == 1]
    assert len(first) == 3  # the member without steps has none
    speeds = [row["tokens"] / row["seconds"] for row in first]
    assert speeds == pytest.approx([speeds[0]] * 3)


def test_a_loss_that_is_no_number_names_the_prompt_that_has_it(tiny_llama, tmp_path):
    members = members_of(tiny_llama, "prefix")
    with torch.no_grad():
        numbers_of(members[3])[0].fill_(float("nan"))
    before = numbers_of(members[0])[0].clone()
    with pytest.raises(RunError, match=r"^cell-3: the loss is nan at step 1"):
        fit_together(tiny_llama, members, place_in(tmp_path))
    assert torch.equal(numbers_of(members[0])[0], before)
