"""A GPU gives the gradients and answers of the CPU: in float32 the same, in bfloat16 nearly."""

import pytest
import torch
from tiny import random_prompts, random_rows, save_tiny

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate, score_choices
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.load import load_backbone
from clinprompt.training.member import TASK_LOSS, batches_of

ROWS = random_rows([(6, 3), (15, 1), (40, 5), (9, 2), (3, 4)], tasks=(0, 1, 2))
PLACEMENTS = ("prefix", "suffix", "layers")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a model with heads of 64 numbers, as the kernel for packed rows has them."""
    return save_tiny(
        tmp_path_factory.mktemp("model"),
        "llama",
        hidden_size=256,
        intermediate_size=384,
        initializer_range=0.02,
        head_dim=64,
    )


def prompts_of(backbone, placement):
    prompts = random_prompts(3, 4, width=256).to(backbone.device)
    return to_layer_prompts(backbone.model, prompts) if placement == "layers" else prompts


def gradient(backbone, placement):
    prompts = prompts_of(backbone, placement).requires_grad_()
    batches = batches_of(backbone, ROWS, 60)
    step = StepPrompts(prompts, (0, 1, 2), (0, 0, 0), placement)
    accumulate_gradients(backbone.model, step, batches, TASK_LOSS)
    return prompts.grad.cpu()


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    ("device", "dtype", "tolerance"),
    [
        ("cpu", "bfloat16", 0.1),
        pytest.param("cuda", "float32", 1e-4, marks=GPU),
        pytest.param("cuda", "bfloat16", 0.1, marks=GPU),
    ],
)
def test_gradients_are_those_of_the_cpu(folder, placement, device, dtype, tolerance):
    expected = gradient(load_backbone(str(folder), device="cpu"), placement)
    other = load_backbone(str(folder), device=device, dtype=getattr(torch, dtype))
    assert (gradient(other, placement) - expected).norm() < tolerance * expected.norm()


@GPU
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_answers_are_those_of_the_cpu(folder, placement):
    answers = []
    for device in ("cpu", "cuda"):
        backbone = load_backbone(str(folder), device=device)
        with torch.no_grad():
            bank = make_bank(backbone.model, prompts_of(backbone, placement), placement)
        limits = [8] * len(ROWS)
        answers.append(generate(backbone, ROWS, bank, limits=limits, end_ids={2}))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_choices_score_nearly_as_in_float32_on_the_cpu(folder, placement, device):
    """Only a GPU reads packed rows and keeps their keys and values in 16 bits."""
    choices = [[(1, 2), (3,), (4, 5, 6)]] * len(ROWS)
    scores = []
    for place, dtype in (("cpu", torch.float32), (device, torch.bfloat16)):
        backbone = load_backbone(str(folder), device=place, dtype=dtype)
        with torch.no_grad():
            bank = make_bank(backbone.model, prompts_of(backbone, placement), placement)
        scores.append(torch.tensor(score_choices(backbone, ROWS, choices, bank)))
    assert torch.allclose(*scores, rtol=0.02)
