"""Each method: what it trains, at which rates, how many numbers, from which start."""

from collections.abc import Mapping
from itertools import chain

import pytest
import torch
from tiny import random_rows

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.head import logits_of
from clinprompt.backbone.model_sizes import sizes_of_config
from clinprompt.backbone.shared_prefix import read_text
from clinprompt.backbone.tuners import PromptTuner, trained_numbers, trained_tensors
from clinprompt.errors import SettingError
from clinprompt.methods.method import Start
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import Manifest, make_artifact
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.training.fit import mean_loss
from clinprompt.training.optim import build_optimizer

LENGTH, HIDDEN, RANK, LORA_RANK = 4, 32, 2, 3
SOURCES = ("practice-ner-labs", "practice-nli-history")
TARGET = find_card("practice-nli-social")
RATES = {
    "adapt": {"shared_rate": 0.01, "factor_rate": 0.02},
    "baselines": {"prompt_rate": 0.03, "mpt_rate": 0.04, "lora_rate": 0.05, "full_rate": 0.06},
}
# The learning rate of each parameter group.
TRAINED: Mapping[str, Mapping[str, float]] = {
    "prompt-tuning": {"prompt": 0.03},
    "spot": {"prompt": 0.03},
    "peft-mpt": {"mpt": 0.04},
    "multitask-prompt": {"prompt": 0.03},
    "lora": {"lora": 0.05},
    "lora-multitask": {"lora": 0.05},
    "full": {"full": 0.06},
    "adapted-factors": {"factors": 0.02},
    "adapted-metaprompt": {"shared": 0.01, "factors": 0.02},
}
FACTORS = RANK * (LENGTH + HIDDEN)
# A layer: q, o 32·32, k, v 32·16, three 32·48, two norms of 32.
LAYER = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
NUMBERS = {
    "prompt-tuning": LENGTH * HIDDEN,
    "spot": LENGTH * HIDDEN,
    "multitask-prompt": LENGTH * HIDDEN,
    "peft-mpt": LENGTH * HIDDEN + FACTORS,
    # Two layers; rank · (inputs + outputs) of q 32→32, k and v 32→16, o 32→32.
    "lora": 2 * LORA_RANK * (64 + 48 + 48 + 64),
    "lora-multitask": 2 * LORA_RANK * (64 + 48 + 48 + 64),
    # Embeddings and head of 264 tokens, two layers, a norm.
    "full": 2 * 264 * 32 + 2 * LAYER + 32,
    "adapted-factors": FACTORS,
    "adapted-metaprompt": LENGTH * HIDDEN + FACTORS,
}
# Keys and values of two layers with two key-value heads of size 8: a position is 64 wide.
NUMBERS_IN_LAYERS = {
    "prompt-tuning": LENGTH * 64,
    "spot": LENGTH * 64,
    "multitask-prompt": LENGTH * 64,
    "adapted-factors": RANK * (LENGTH + 64),
    "adapted-metaprompt": LENGTH * 64 + RANK * (LENGTH + 64),
}


def prompt_of(backbone, *, kind="prompt", width=HIDDEN, seed=0, names=SOURCES):
    """Return random vectors of the source tasks as a saved prompt or metaprompt."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "prompt": {"vectors": (LENGTH, width)},
        "metaprompt": {
            "shared": (LENGTH, width),
            "u": (len(names), LENGTH, RANK),
            "v": (len(names), RANK, width),
        },
    }[kind]
    manifest = Manifest(
        kind=kind,
        name="made up",
        method="random",
        backbone="tiny",
        fingerprint=backbone.fingerprint,
        length=LENGTH,
        hidden_size=width,
        rank=RANK if kind == "metaprompt" else 0,
        tasks=tuple(find_card(name).model_dump(mode="json") for name in names),
    )
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return make_artifact(manifest, tensors)


def from_sources(name, config, backbone):
    """Return random tensors in place of what a method learns from all source tasks."""
    with METHODS[name].on_sources(config, backbone) as (tuner, _):
        shapes = {key: tensor.shape for key, tensor in trained_tensors(tuner).items()}
    generator = torch.Generator().manual_seed(5)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture
def start_of(tiny_llama, tiny_llama_folder):
    """Return a function that makes what a method may start from on the tiny Llama."""

    def start_of(*, seed=0, placement="prefix", relative=False, **given):
        width = 64 if placement == "layers" else HIDDEN
        baselines = RATES["baselines"] | {"lora_rank": LORA_RANK}
        values = {
            "name": "x",
            "backbone": str(tiny_llama_folder),
            "device": "cpu",
            "prompt": {"length": LENGTH, "rank": RANK, "placement": placement},
            "adapt": {**RATES["adapt"], "routing": "all", "relative_rates": relative},
            "baselines": baselines,
        }
        teachers = {
            name: prompt_of(tiny_llama, width=width, seed=seed, names=[name])
            for seed, name in enumerate(SOURCES)
        }
        config = check_config(values, source="test")
        known = {
            "rows": random_rows([(9, 2), (12, 3), (7, 1)]),
            "metaprompt": prompt_of(tiny_llama, kind="metaprompt", width=width),
            "load_teacher": teachers.get,
            "load_from_sources": lambda name: from_sources(name, config, tiny_llama),
        }
        return Start(config, tiny_llama, TARGET, seed=seed, **(known | given))

    return start_of


def start_vectors_of(tuner):
    """Return a copy of every trained tensor of a method that has just started."""
    groups = tuner.parameter_groups()
    return [tensor.detach().clone() for name in sorted(groups) for tensor in groups[name]]


def logits(backbone):
    ids = torch.tensor([random_rows([(6, 2)])[0].input_ids])
    with torch.no_grad():
        hidden, _ = read_text(backbone.model, ids, torch.ones_like(ids, dtype=torch.bool), None)
        return logits_of(backbone.model, hidden)


def test_every_method_that_trains_has_its_promises_here():
    assert {name for name, method in METHODS.items() if method.trains != "nothing"} == set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_trains_its_parameter_groups_at_their_rates(start_of, name):
    with METHODS[name].started(start_of()) as (tuner, rates):
        assert rates == TRAINED[name]
        assert tuner.parameter_groups().keys() == rates.keys()
        assert all(tensor.requires_grad for tensor in chain(*tuner.parameter_groups().values()))


@pytest.mark.parametrize(
    ("name", "placement", "expected"),
    [
        *((name, "prefix", count) for name, count in NUMBERS.items()),
        *((name, "layers", count) for name, count in NUMBERS_IN_LAYERS.items()),
    ],
)
def test_a_method_trains_as_many_numbers_as_its_formula_says(
    start_of, tiny_llama, name, placement, expected
):
    start, method = start_of(placement=placement), METHODS[name]
    with method.started(start) as (tuner, _):
        assert trained_numbers(tuner) == expected
    assert method.count(start.config, sizes_of_config("tiny", tiny_llama.model.config)) == expected


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TRAINED])
def test_a_method_that_trains_nothing_cannot_be_fitted(start_of, tiny_llama, name):
    start = start_of()
    assert METHODS[name].count(start.config, sizes_of_config("tiny", tiny_llama.model.config)) == 0
    with pytest.raises(SettingError, match=f"method {name} trains nothing"):
        METHODS[name].started(start)


@pytest.mark.parametrize("name", ["spot", "adapted-factors", "adapted-metaprompt"])
def test_a_method_that_needs_a_metaprompt_says_so(start_of, name):
    with pytest.raises(SettingError, match=f"method {name} needs a metaprompt"):
        METHODS[name].started(start_of(metaprompt=None))


def test_the_untrained_metaprompt_says_that_there_is_none(start_of):
    with pytest.raises(SettingError, match="method metaprompt needs a metaprompt"):
        METHODS["metaprompt"].untrained(start_of(metaprompt=None), None, ())


@pytest.mark.parametrize("name", ["prompt-tuning", "peft-mpt", "lora"])
def test_a_random_start_depends_on_the_seed_alone(start_of, name):
    starts = []
    for seed in (1, 1, 2):
        with METHODS[name].started(start_of(seed=seed)) as (tuner, _):
            starts.append(start_vectors_of(tuner))
    first, again, other = starts
    assert all(torch.equal(one, same) for one, same in zip(first, again, strict=True))
    assert not all(torch.equal(one, same) for one, same in zip(first, other, strict=True))


def test_prompt_tuning_starts_from_embeddings_of_the_vocabulary(start_of, tiny_llama):
    with METHODS["prompt-tuning"].started(start_of()) as (tuner, _):
        [vectors] = tuner.prompts([0]).detach()
    is_same = (vectors[:, None] == tiny_llama.embeddings[None]).all(dim=2)
    assert is_same.any(dim=1).all()


def test_spot_starts_from_the_source_prompt_with_the_lowest_loss(start_of, tiny_llama):
    start = start_of()
    vectors = [start.load_teacher(name).tensors["vectors"] for name in SOURCES]
    losses = [
        mean_loss(tiny_llama, PromptTuner(SoftPrompts(one[None])), start.rows) for one in vectors
    ]
    best = vectors[losses.index(min(losses))]
    with METHODS["spot"].started(start) as (tuner, _):
        assert torch.equal(tuner.prompts([0])[0], best)


@pytest.mark.parametrize("name", ["multitask-prompt", "lora-multitask"])
def test_a_control_starts_from_what_it_learned_from_all_sources(start_of, name):
    start = start_of()
    with METHODS[name].started(start) as (tuner, _):
        found = trained_tensors(tuner)
    expected = start.load_from_sources(name)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("name", "rates"), [("multitask-prompt", {"prompt": 0.1}), ("lora-multitask", {"lora": 0.001})]
)
def test_a_control_has_its_own_rate_on_sources(start_of, name, rates):
    start = start_of()
    with METHODS[name].on_sources(start.config, start.backbone) as (tuner, found):
        assert found == rates
        assert tuner.parameter_groups().keys() == rates.keys()


@pytest.mark.parametrize("placement", ["prefix", "layers"])
def test_all_sources_share_the_multitask_prompt_which_starts_as_in_prompt_tuning(
    start_of, placement
):
    start = start_of(placement=placement)
    with METHODS["prompt-tuning"].started(start) as (tuner, _):
        [alone] = tuner.prompts([0])
    config = start.config.model_copy(update={"seed": start.seed})
    with METHODS["multitask-prompt"].on_sources(config, start.backbone) as (tuner, _):
        first, second = tuner.prompts([3, 7])
        assert tuner.placement == placement
    assert torch.equal(first, alone)
    assert torch.equal(second, alone)


@pytest.mark.parametrize("name", ["multitask-prompt", "lora-multitask"])
def test_a_control_without_training_on_sources_says_so(start_of, name):
    start = start_of(load_from_sources=lambda _: None)
    with (
        pytest.raises(SettingError, match=f"method {name} starts from training on the source"),
        METHODS[name].started(start),
    ):
        pass


PROMPTS = ["prompt-tuning", "spot", "multitask-prompt", "adapted-metaprompt", "adapted-factors"]


@pytest.mark.parametrize("placement", ["prefix", "layers"])
@pytest.mark.parametrize("name", PROMPTS)
def test_relative_rates_change_no_start(start_of, name, placement):
    with METHODS[name].started(start_of(placement=placement)) as (tuner, _):
        plain = tuner.prompts([0]).detach()
    with METHODS[name].started(start_of(placement=placement, relative=True)) as (tuner, _):
        torch.testing.assert_close(tuner.prompts([0]).detach(), plain)


def test_with_relative_rates_a_step_is_in_proportion_to_keys_and_values(start_of, tiny_llama):
    """The first step of AdamW changes each trained number by the rate. The model has two layers."""
    num_layers = tiny_llama.model.config.num_hidden_layers
    start = start_of(placement="layers", relative=True)
    with METHODS["prompt-tuning"].started(start) as (tuner, _):
        before = tuner.prompts([0])[0].detach()
        optimizer = build_optimizer(tuner.parameter_groups(), {"prompt": 0.01})
        tuner.prompts([0]).square().sum().backward()
        optimizer.step()
        change = (tuner.prompts([0])[0].detach() - before).abs()
    parts = before.view(LENGTH, 2 * num_layers, -1)
    expected = 0.01 * parts.square().mean(dim=(0, 2), keepdim=True).sqrt()
    torch.testing.assert_close(
        change.view_as(parts), expected.expand_as(parts), rtol=1e-3, atol=1e-6
    )
    assert expected.max() > 1.1 * expected.min()


def test_lora_starts_as_the_backbone(start_of, tiny_llama):
    answer = logits(tiny_llama)
    with METHODS["lora"].started(start_of()):
        assert torch.equal(logits(tiny_llama), answer)
    assert torch.equal(logits(tiny_llama), answer)


def test_pefts_multitask_prompt_starts_near_zero(start_of):
    """Its factors are drawn from N(0, 0.02): a product of rank 2 is about 0.02² · √2."""
    with METHODS["peft-mpt"].started(start_of()) as (tuner, _):
        assert tuner.prompts([0]).abs().max() < 0.02


@pytest.mark.parametrize("name", ["adapted-factors", "adapted-metaprompt"])
def test_an_adapted_metaprompt_starts_from_the_shared_prompt_and_the_mean_factors(start_of, name):
    start = start_of()
    tensors = start.metaprompt.tensors
    mean = tensors["u"].mean(dim=0) @ tensors["v"].mean(dim=0)
    with METHODS[name].started(start) as (tuner, _):
        torch.testing.assert_close(tuner.prompts([0])[0].detach(), tensors["shared"] * mean)


def test_the_untrained_metaprompt_is_the_start_of_the_adapted_one(start_of, tiny_llama):
    start = start_of()
    bank, num_shown = METHODS["metaprompt"].untrained(start, None, ())
    with METHODS["adapted-factors"].started(start) as (tuner, _), torch.inference_mode():
        expected = make_bank(tiny_llama.model, tuner.prompts([0]))
    assert num_shown == 0
    for layer, same in zip(bank.keys_values, expected.keys_values, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(layer, same, strict=True))
