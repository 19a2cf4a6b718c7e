"""A run that is killed and continued ends with the same bits as an unbroken run."""

import pytest
import torch
from tiny import KillAfter, Killed, place_in, random_prompts, random_rows

from clinprompt.backbone.tuners import PromptTuner, lora
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import fit
from clinprompt.training.member import FitMember, FitSpec

STEPS = 11
ROWS = [
    random_rows([(6, 2), (4, 3), (9, 1), (5, 5)], tasks=(0,)),
    random_rows([(3, 2), (12, 2)], tasks=(1,), seed=1),
]
SEVERAL_KILLS = [(1,), (4,), (7,), (11,), (3, 2, 5)]


def metaprompt_tuner():
    u, v = neutral_factors(
        2, length=3, hidden_size=32, rank=2, generator=torch.Generator().manual_seed(0)
    )
    module = DecomposedPrompts(random_prompts(1, 3)[0], u, v)
    return PromptTuner(module), {"shared": 0.05, "factors": 0.02}


def train(
    backbone, folder, reporter=None, *, made=None, steps=STEPS, seed=0, every=4, averaged=0.0
):
    tuner, rates = made or metaprompt_tuner()
    settings = FitSettings(
        steps=steps,
        rows=3,
        warmup_steps=2,
        decay="cosine",
        checkpoint_every=every,
        micro_batch_tokens=20,
    )
    spec = FitSpec(
        settings,
        rates,
        seed,
        sampling_temperature=2.0,
        validate_every=0 if averaged else 3,
        averaged_share=averaged,
    )
    validation = random_rows([(5, 2), (6, 1)], tasks=(0, 1), seed=2)
    member = FitMember("phase", tuner, ROWS, spec, validation)
    progress = fit(backbone, member, place_in(folder, reporter=reporter))
    numbers = [p.detach().clone() for group in tuner.parameter_groups().values() for p in group]
    return numbers, progress, log_of(folder)


def log_of(folder):
    """Return the log without durations."""
    rows = place_in(folder).log.rows()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    for name in ("step", "tokens", "last_loss", "best_loss", "best_step"):
        assert getattr(one[1], name) == getattr(other[1], name), name
    assert one[2] == other[2]


@pytest.mark.parametrize("kills", SEVERAL_KILLS)
@pytest.mark.parametrize("every", [1, 4, 100])
def test_resumed_run_equals_unbroken_run(tiny_llama, tmp_path, kills, every):
    unbroken = train(tiny_llama, tmp_path / "unbroken", every=every)
    for steps in kills:
        with pytest.raises(Killed):
            train(tiny_llama, tmp_path / "broken", KillAfter(steps), every=every)
    assert_same(train(tiny_llama, tmp_path / "broken", every=every), unbroken)


def test_resumed_run_equals_unbroken_run_on_gpt_oss(tiny_gpt_oss, tmp_path):
    unbroken = train(tiny_gpt_oss, tmp_path / "unbroken")
    with pytest.raises(Killed):
        train(tiny_gpt_oss, tmp_path / "broken", KillAfter(6))
    assert_same(train(tiny_gpt_oss, tmp_path / "broken"), unbroken)


def test_resumed_lora_equals_unbroken_lora(tiny_llama, tmp_path):
    def with_lora(folder, reporter=None):
        with lora(tiny_llama, rank=2, modules=("q_proj", "v_proj"), seed=5) as tuner:
            return train(tiny_llama, folder, reporter, made=(tuner, {"lora": 0.05}))

    unbroken = with_lora(tmp_path / "unbroken")
    with pytest.raises(Killed):
        with_lora(tmp_path / "broken", KillAfter(6))
    assert_same(with_lora(tmp_path / "broken"), unbroken)


@pytest.mark.parametrize("kill", [3, 8])
def test_a_resumed_run_averages_the_same_states(tiny_llama, tmp_path, kill):
    """The mean is over the last 6 of 11 steps, so the second kill interrupts it."""
    unbroken = train(tiny_llama, tmp_path / "unbroken", averaged=0.5)
    last = train(tiny_llama, tmp_path / "last")
    with pytest.raises(Killed):
        train(tiny_llama, tmp_path / "killed", KillAfter(kill), every=2, averaged=0.5)
    assert_same(train(tiny_llama, tmp_path / "killed", every=2, averaged=0.5), unbroken)
    assert not torch.equal(unbroken[0][0], last[0][0])


def test_a_finished_run_is_not_changed(tiny_llama, tmp_path):
    """With a checkpoint at the very last step, starting again takes no step."""
    first = train(tiny_llama, tmp_path, steps=8)
    assert_same(train(tiny_llama, tmp_path, KillAfter(1), steps=8), first)


def test_one_seed_twice_gives_the_same_bits(tiny_llama, tmp_path):
    first = train(tiny_llama, tmp_path / "first", seed=3)
    assert_same(train(tiny_llama, tmp_path / "again", seed=3), first)


def test_another_seed_gives_other_numbers(tiny_llama, tmp_path):
    first = train(tiny_llama, tmp_path / "first", seed=3)
    other = train(tiny_llama, tmp_path / "other", seed=4)
    assert not torch.equal(first[0][0], other[0][0])


def test_the_log_has_each_step_once(tiny_llama, tmp_path):
    with pytest.raises(Killed):
        train(tiny_llama, tmp_path, KillAfter(7))
    *_, log = train(tiny_llama, tmp_path)
    assert [row["step"] for row in log if "loss" in row] == list(range(1, STEPS + 1))
    # Validated every third step and at the end.
    assert [row["step"] for row in log if "validation_loss" in row] == [3, 6, 9, 11]


def test_training_ends_where_validation_was_best(tiny_llama, tmp_path):
    *_, progress, log = train(tiny_llama, tmp_path)
    measured = {row["step"]: row["validation_loss"] for row in log if "validation_loss" in row}
    assert progress.best_loss == min(measured.values())
    assert measured[progress.best_step] == progress.best_loss


def test_training_lowers_the_loss(tiny_llama, tmp_path):
    tuner = PromptTuner(SoftPrompts(random_prompts(2, 3)))
    *_, log = train(tiny_llama, tmp_path, made=(tuner, {"prompt": 0.1}), steps=40)
    losses = [row["loss"] for row in log if "loss" in row]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
