"""On each family of models, a prompt does exactly what plain concatenation does."""

import copy

import pytest
import torch
import transformers
from test_prompts_are_joined_exactly import step_loss
from tiny import byte_tokenizer, random_prompts, random_rows
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate
from clinprompt.backbone.head import float32_head, logits_of
from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.errors import BackboneError
from clinprompt.prompts.initializers import from_text

SHAPE = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 256,
    "short_factor": [1.0, 1.5, 2.0, 2.5],
    "long_factor": [4.0] * 4,
}
FAMILIES = {  # name: (config, its own values, whether rows are packed)
    "qwen2": (transformers.Qwen2Config, {}, True),
    "qwen2, window": (
        transformers.Qwen2Config,
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        False,
    ),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 8}, True),
    "gpt_neox": (transformers.GPTNeoXConfig, {"num_key_value_heads": None}, False),
    "smollm3": (transformers.SmolLM3Config, {"no_rope_layers": [1, 0]}, True),
    "gemma": (transformers.GemmaConfig, {"head_dim": 8}, True),
    "gemma2": (
        transformers.Gemma2Config,
        {**GEMMA, **MIXED, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        False,
    ),
    "gemma3": (transformers.Gemma3TextConfig, {**GEMMA, **MIXED}, False),
    "gemma4": (
        transformers.Gemma4TextConfig,
        {
            **MIXED,
            "head_dim": 8,
            "global_head_dim": 16,
            "num_global_key_value_heads": 1,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
            "final_logit_softcapping": 3.0,
        },
        False,
    ),
    "mistral": (transformers.MistralConfig, {"sliding_window": None}, True),
    "mistral, window": (transformers.MistralConfig, {"sliding_window": 5}, False),
    "phi": (transformers.PhiConfig, {}, True),
    "phi3": (
        transformers.Phi3Config,
        {
            "original_max_position_embeddings": 256,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            "partial_rotary_factor": 0.5,
        },
        True,
    ),
    "phi3, long": (
        transformers.Phi3Config,
        {"original_max_position_embeddings": 256, "rope_parameters": LONG, "sliding_window": 300},
        False,
    ),
    "granite": (
        transformers.GraniteConfig,
        {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "attention_multiplier": 0.2},
        False,
    ),
    "cohere2": (transformers.Cohere2Config, {**MIXED, "logit_scale": 0.25}, False),
}
TASKS = (1, 4)
ROWS = random_rows([(3, 2), (14, 3), (8, 1), (1, 1)], tasks=TASKS)
QUESTIONS = random_rows([(9, 0), (2, 0), (14, 0)], tasks=(0, 1), seed=3)
END, LIMIT, HEAD = 257, 8, 8
CASES = pytest.mark.parametrize(
    ("family", "placement"),
    [
        (name, placement)
        for name in FAMILIES
        for placement in ("prefix", "suffix", "layers")
        if (name, placement) != ("gemma4", "layers")  # refused
    ],
    indirect=["family"],
)


@pytest.fixture(scope="module")
def family(request, tmp_path_factory):
    """A backbone in float64, and whether its rows are packed."""
    kind, own, packs = FAMILIES[request.param]
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("family")
    config = kind(**{**SHAPE, **own})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    backbone = load_backbone(str(folder), device="cpu", dtype=torch.float64)
    return backbone, packs


def prompts_of(backbone, placement):
    width = prompt_width(backbone.model, placement)
    return random_prompts(len(TASKS), 7, width=width).double()


def cache_of(prompt):
    """Return a prompt [P, W] of every layer as transformers' own cache."""
    layers = prompt.view(len(prompt), SHAPE["num_hidden_layers"], 2, -1, HEAD)
    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers.permute(1, 2, 3, 0, 4)):
        cache.update(keys[None], values[None], number)
    return cache


def plain_logits(backbone, prompt, row, ids, placement):
    """Return the logits after an input and after each of ``ids``, without any of our own code."""
    model, embed = backbone.model, backbone.model.get_input_embeddings()
    parts = [embed(torch.tensor(row.input_ids)), embed(torch.tensor(ids, dtype=torch.long))]
    past = None
    if placement == "layers":
        past = cache_of(prompt)
    else:
        parts.insert(0 if placement == "prefix" else 1, prompt)
    joined = torch.cat(parts)[None]
    return model(inputs_embeds=joined, past_key_values=past).logits[0, -len(ids) - 1 :]


def loss_without_packing(backbone, prompts, placement):
    losses = []
    for row in ROWS:
        prompt = prompts[TASKS.index(row.task)]
        predicted = plain_logits(backbone, prompt, row, row.target_ids, placement)[:-1]
        losses.append(cross_entropy(predicted, torch.tensor(row.target_ids)))
    return torch.stack(losses).mean()


@CASES
def test_loss_and_gradient_equal_those_of_the_plain_model(family, placement):
    backbone, packs = family
    assert is_packable(backbone.model) == packs
    plain = prompts_of(backbone, placement).requires_grad_()
    shared = plain.detach().clone().requires_grad_()
    expected = loss_without_packing(backbone, plain, placement)
    expected.backward()
    found = step_loss(backbone, shared, ROWS, max_tokens=24, placement=placement)
    assert found == pytest.approx(expected.item(), rel=1e-6)
    error = (shared.grad - plain.grad).norm() / plain.grad.norm()
    assert plain.grad.norm() > 0
    assert error < 2e-6


@CASES
def test_greedy_answers_equal_those_of_the_plain_model(family, placement):
    backbone, _ = family
    prompts = prompts_of(backbone, placement)
    with torch.no_grad():
        bank = make_bank(backbone.model, prompts, placement)
        found = generate(backbone, QUESTIONS, bank, limits=[LIMIT] * 3, end_ids=(END,))
        for row, answer in zip(QUESTIONS, found, strict=True):
            ids = []
            while len(ids) < LIMIT:
                logits = plain_logits(backbone, prompts[row.task], row, tuple(ids), placement)
                if (best := int(logits[-1].argmax())) == END:
                    break
                ids.append(best)
            assert answer == tuple(ids)


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_a_prompt_that_starts_from_a_text_is_the_text(family):
    """Gemma scales embeddings as it looks them up."""
    backbone, _ = family
    ids = (5, 9, 200)
    start = from_text(backbone.embeddings, ids, length=3)
    with torch.no_grad():
        expected = backbone.model.get_input_embeddings()(torch.tensor(ids))
    torch.testing.assert_close(start, expected.float())


@pytest.mark.parametrize("family", ["gemma4"], indirect=True)
def test_a_prompt_in_every_layer_is_refused_if_the_layers_differ(family):
    with pytest.raises(BackboneError, match=r"a gemma4_text .*set prompt.placement to 'prefix'"):
        prompt_width(family[0].model, "layers")


@pytest.mark.parametrize("family", ["gemma2", "cohere2", "granite"], indirect=True)
def test_logits_in_float32_are_capped_and_scaled_too(family):
    """Answers of a 16-bit model use a float32 copy of the head."""
    model = copy.deepcopy(family[0].model).bfloat16()
    hidden = torch.randn(3, SHAPE["hidden_size"]).bfloat16()
    found = float32_head(model)(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits_of(model.double(), hidden.double()).float())
