"""Sizes computed from a config are those of the model."""

import pytest
from torch import nn
from transformers import AutoConfig, BloomConfig

from clinprompt.backbone.model_sizes import PUBLISHED, inspect_backbone, sizes_of_config
from clinprompt.backbone.tuners import lora, trained_numbers
from clinprompt.errors import BackboneError


def published(name):
    return sizes_of_config(name, AutoConfig.for_model(**PUBLISHED[name]))


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "OpenMeditron/Meditron3-8B"])
def test_the_sizes_of_an_8b_llama_equal_those_worked_by_hand(name):
    """A layer: attention 2·4096² + 2·4096·1024, feed-forward 3·4096·14336, two norms of 4096."""
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    sizes = published(name)
    assert sizes.layer_weights == 32 * layer + 4096
    assert sizes.num_parameters == 32 * layer + 4096 + 2 * 128256 * 4096 == 8_030_261_248
    assert (sizes.query_width, sizes.key_width) == (32 * 128, 8 * 128)
    assert sizes.linear_inputs["down_proj"] == 32 * 14336
    assert sizes.linear_outputs["k_proj"] == 32 * 1024
    assert not sizes.attends_densely


def test_the_sizes_of_a_20b_gpt_oss_equal_those_worked_by_hand():
    """Biases everywhere, a sink for each of 64 heads, and 32 experts, of which a token meets 4."""
    attention = 2880 * 4096 + 4096 + 2 * (2880 * 512 + 512) + 4096 * 2880 + 2880 + 64
    expert = 2880 * 5760 + 5760 + 2880 * 2880 + 2880
    rest = attention + 2880 * 32 + 32 + 2 * 2880
    sizes = published("openai/gpt-oss-20b")
    whole = 24 * (rest + 32 * expert) + 2880 + 2 * 201088 * 2880
    assert sizes.num_parameters == whole == 20_914_757_184
    assert sizes.layer_weights == 24 * (rest + 4 * expert) + 2880
    assert (sizes.query_width, sizes.key_width) == (64 * 64, 8 * 64)
    assert sizes.inner_width == 4 * 2880
    assert sizes.attends_densely


def test_sizes_of_a_stored_model_equal_those_of_its_loaded_weights(backbone):
    status = inspect_backbone(backbone.name)
    assert status.problem == ""
    sizes = status.sizes
    assert sizes.num_parameters == backbone.num_parameters
    assert (sizes.hidden_size, sizes.vocabulary_size) == (32, 264)
    modules = [m for n, m in backbone.model.named_modules() if n.endswith(".q_proj")]
    assert all(isinstance(module, nn.Linear) for module in modules)
    assert sizes.linear_inputs["q_proj"] == sum(module.in_features for module in modules)


def test_widths_of_linear_layers_give_the_number_of_lora_parameters(backbone):
    names = ("q_proj", "o_proj")
    sizes = inspect_backbone(backbone.name).sizes
    widths = [sizes.linear_inputs[n] + sizes.linear_outputs[n] for n in names]
    with lora(backbone, rank=3, modules=names, seed=0) as tuner:
        assert trained_numbers(tuner) == 3 * sum(widths)


def test_published_sizes_are_used_for_a_model_that_is_not_on_the_disk():
    status = inspect_backbone("openai/gpt-oss-20b")
    assert "hf download openai/gpt-oss-20b" in status.problem
    assert status.sizes.num_layers == 24


def test_an_unknown_model_has_no_sizes():
    status = inspect_backbone("nobody/nothing-1b")
    assert "not on this disk" in status.problem
    assert status.sizes is None


def test_sizes_of_an_unsupported_model_are_refused(tmp_path):
    with pytest.raises(BackboneError, match="alibi"):
        sizes_of_config("bloom", BloomConfig())
