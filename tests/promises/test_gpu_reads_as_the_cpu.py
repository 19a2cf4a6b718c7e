"""A GPU gives the gradients and answers of the CPU: in float32 the same, in bfloat16 nearly."""

import pytest
import torch
from tiny import byte_tokenizer, random_prompts, random_rows
from transformers import LlamaConfig, LlamaForCausalLM

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate
from clinprompt.backbone.gradients import accumulate_gradients
from clinprompt.backbone.layers import from_input
from clinprompt.backbone.load import load_backbone
from clinprompt.recipes.tune import batches_of, task_objective

ROWS = random_rows([(6, 3), (15, 1), (40, 5), (9, 2), (3, 4)], tasks=(0, 1, 2))
CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a model with heads of 64 numbers, as the kernel for packed rows has them."""
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=300,
    )
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(place)
    byte_tokenizer().save_pretrained(place)
    return place


def prompts_of(backbone, placement):
    prompts = random_prompts(3, 4, width=256).to(backbone.device)
    return from_input(backbone.model, prompts) if placement == "layers" else prompts


def gradient(backbone, placement):
    prompts = prompts_of(backbone, placement).requires_grad_()
    batches = batches_of(backbone, ROWS, 60)
    loss = task_objective(len(ROWS), {})
    accumulate_gradients(backbone.model, prompts, [0, 1, 2], batches, loss, placement=placement)
    return prompts.grad.cpu()


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_gradients_are_those_of_the_cpu(folder, placement, device, dtype, tolerance):
    expected = gradient(load_backbone(str(folder), device="cpu"), placement)
    other = load_backbone(str(folder), device=device, dtype=getattr(torch, dtype))
    found = gradient(other, placement)
    assert (found - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
def test_answers_are_those_of_the_cpu(folder, placement, device):
    answers = []
    for place in ("cpu", device):
        backbone = load_backbone(str(folder), device=place)
        with torch.no_grad():
            bank = make_bank(backbone.model, prompts_of(backbone, placement), placement)
        limits = [8] * len(ROWS)
        answers.append(generate(backbone, ROWS, bank, limits=limits, end_ids={2}))
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > 1
