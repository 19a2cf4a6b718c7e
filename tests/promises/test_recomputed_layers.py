"""A backbone that computes layers again in the backward pass trains the same prompts exactly."""

import copy

import pytest
import torch
from test_prompts_are_joined_exactly import LENGTHS, TASKS, step_loss
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import generate
from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.recompute import recompute_layers
from clinprompt.backbone.tuners import lora
from clinprompt.runs.workspace import load_run_backbone
from clinprompt.settings.run import check_config

ROWS = random_rows(LENGTHS, tasks=TASKS)


class Kept:
    """Count the numbers that a pass keeps for the backward pass."""

    def __enter__(self):
        self.numbers = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda one: one)
        self._hooks.__enter__()
        return self

    def _pack(self, tensor):
        self.numbers += tensor.numel()
        return tensor

    def __exit__(self, *error):
        self._hooks.__exit__(*error)


@pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
@pytest.mark.parametrize("name", ["tiny_llama_folder", "tiny_gpt_oss_folder"])
def test_losses_and_gradients_are_the_same_to_the_bit(name, placement, request):
    folder = str(request.getfixturevalue(name))
    found = []
    for again in (False, True):
        backbone = load_backbone(folder, device="cpu", dtype=torch.float64)
        if "gpt_oss" in name:
            backbone.model.set_experts_implementation("eager")
        if again:
            recompute_layers(backbone.model)
        width = prompt_width(backbone.model, placement)
        prompts = random_prompts(2, 5, width=width).double().requires_grad_()
        loss = step_loss(backbone, prompts, ROWS, max_tokens=40, placement=placement)
        found.append((loss, prompts.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].norm() > 0


def test_answers_are_the_same(backbone):
    rows = random_rows([(9, 0), (2, 0), (14, 0)], tasks=(0, 1))
    answers = []
    model = copy.deepcopy(backbone.model)
    again = type(backbone)(
        backbone.name, model, backbone.tokenizer, backbone.fingerprint, backbone.device
    )
    recompute_layers(model)
    for one in (backbone, again):
        with torch.no_grad():
            bank = make_bank(one.model, random_prompts(2, 4))
        answers.append(generate(one, rows, bank, limits=[8] * 3, end_ids=(257,)))
    assert answers[0] == answers[1]


def test_the_setting_keeps_less_and_works_with_adapters(tiny_llama_folder, tmp_path):
    values = {"name": "run", "backbone": str(tiny_llama_folder), "device": "cpu"}
    kept, gradients = [], []
    for again in (False, True):
        config = check_config({**values, "gradient_checkpointing": again}, source="test")
        backbone = load_run_backbone(tmp_path / "run", config)
        embeds = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(0))
        with lora(backbone, rank=2, modules=("q_proj", "v_proj"), seed=0) as tuner, Kept() as seen:
            backbone.model(inputs_embeds=embeds.requires_grad_()).logits.square().sum().backward()
            gradients.append([one.grad for one in tuner.parameter_groups()["lora"]])
        kept.append(seen.numbers)
    assert kept[1] < kept[0] / 3
    assert any(one.norm() > 0 for one in gradients[0])
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)
