"""The backbone is frozen: no training changes a bit of it."""

import pytest
import torch
from tiny import place_in, random_prompts, random_rows

from clinprompt.backbone.head import logits_of
from clinprompt.backbone.shared_prefix import read_text
from clinprompt.backbone.tuners import PromptTuner, full, lora, trained_numbers
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import fit
from clinprompt.training.member import FitMember, FitSpec

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ROWS = [random_rows([(6, 2), (4, 3), (9, 1)], tasks=(0,))]


def weights_of(backbone):
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def assert_same_weights(backbone, before):
    after = backbone.model.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name


def logits(backbone):
    ids = torch.tensor([ROWS[0][0].input_ids])
    with torch.no_grad():
        hidden, _ = read_text(backbone.model, ids, torch.ones_like(ids, dtype=torch.bool), None)
        return logits_of(backbone.model, hidden)


def train(backbone, tuner, rates, folder):
    settings = FitSettings(steps=3, rows=2, warmup_steps=0)
    member = FitMember("phase", tuner, ROWS, FitSpec(settings, rates, 0))
    fit(backbone, member, place_in(folder))


def test_training_a_prompt_leaves_every_backbone_weight_bitwise_unchanged(backbone, tmp_path):
    before, module = weights_of(backbone), SoftPrompts(random_prompts(1, 4))
    start = module.vectors.detach().clone()
    train(backbone, PromptTuner(module), {"prompt": 0.1}, tmp_path)
    assert not torch.equal(module.vectors, start)
    assert_same_weights(backbone, before)


def test_no_gradient_reaches_a_backbone_weight(backbone, tmp_path):
    train(backbone, PromptTuner(SoftPrompts(random_prompts(1, 4))), {"prompt": 0.1}, tmp_path)
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())


def test_lora_detaches_cleanly_after_training(backbone, tmp_path):
    before, answer, names = weights_of(backbone), logits(backbone), set(dir(backbone.model))
    for run in ("first", "second"):
        with lora(backbone, rank=2, modules=ATTENTION, seed=0) as tuner:
            train(backbone, tuner, {"lora": 0.1}, tmp_path / run)
            assert not torch.equal(logits(backbone), answer)
        assert_same_weights(backbone, before)
        assert torch.equal(logits(backbone), answer)
        assert not any(p.requires_grad for p in backbone.model.parameters())
    assert set(dir(backbone.model)) - names <= {"peft_config", "peft_type"}


def test_lora_detaches_when_the_block_fails(tiny_llama):
    before = weights_of(tiny_llama)
    with pytest.raises(KeyboardInterrupt), lora(tiny_llama, rank=2, modules=ATTENTION, seed=0):
        raise KeyboardInterrupt
    assert_same_weights(tiny_llama, before)


def test_full_fine_tuning_trains_every_weight_and_restores_each_when_its_block_ends(
    backbone, tmp_path
):
    before, answer = weights_of(backbone), logits(backbone)
    with full(backbone) as tuner:
        train(backbone, tuner, {"full": 0.01}, tmp_path)
        trained = weights_of(backbone)
        assert [name for name in before if torch.equal(trained[name], before[name])] == []
        assert not torch.equal(logits(backbone), answer)
    assert_same_weights(backbone, before)
    assert torch.equal(logits(backbone), answer)
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_full_fine_tuning_restores_the_weights_when_its_block_fails(tiny_llama):
    def change_and_fail(weights):
        with torch.no_grad():
            for weight in weights:
                weight.add_(1)
        raise KeyboardInterrupt

    before = weights_of(tiny_llama)
    with pytest.raises(KeyboardInterrupt), full(tiny_llama) as tuner:
        change_and_fail(tuner.parameter_groups()["full"])
    assert_same_weights(tiny_llama, before)


def test_lora_at_start_is_the_backbone(backbone):
    answer = logits(backbone)
    with lora(backbone, rank=4, modules=ATTENTION, seed=3):
        assert torch.equal(logits(backbone), answer)


def test_lora_starts_the_same_for_one_seed_and_leaves_the_random_state_alone(tiny_llama):
    def start(seed):
        with lora(tiny_llama, rank=2, modules=ATTENTION, seed=seed) as tuner:
            return [p.detach().clone() for p in tuner.parameter_groups()["lora"]]

    state = torch.get_rng_state()
    first, again, other = start(1), start(1), start(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_num_parameters_does_not_count_lora(tiny_llama):
    alone = tiny_llama.num_parameters
    with lora(tiny_llama, rank=2, modules=ATTENTION, seed=0):
        assert tiny_llama.num_parameters == alone


def test_count_of_trained_numbers_equals_its_formula(tiny_llama):
    length, hidden, rank = 5, 32, 2
    generator = torch.Generator().manual_seed(0)
    u, v = neutral_factors(1, length=length, hidden_size=hidden, rank=rank, generator=generator)
    shared = random_prompts(1, length)[0]
    factors = length * rank + rank * hidden
    counts = {
        "plain": trained_numbers(PromptTuner(SoftPrompts(shared[None]))),
        "factors": trained_numbers(
            PromptTuner(DecomposedPrompts(shared, u, v, train_shared=False))
        ),
        "all": trained_numbers(PromptTuner(DecomposedPrompts(shared, u, v))),
    }
    assert counts == {
        "plain": length * hidden,
        "factors": factors,
        "all": length * hidden + factors,
    }


def test_count_of_lora_numbers_equals_its_formula(tiny_llama):
    # Two layers; rank · (in + out) of q 32→32, k 32→16, v 32→16, o 32→32.
    expected = 2 * 3 * ((32 + 32) + (32 + 16) + (32 + 16) + (32 + 32))
    with lora(tiny_llama, rank=3, modules=ATTENTION, seed=0) as tuner:
        assert trained_numbers(tuner) == expected
