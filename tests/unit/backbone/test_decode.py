"""Answers are chosen by float32 logits, and the KV cache keeps within its limit."""

import copy

import pytest
import torch
from tiny import random_prompts, random_rows

from clinprompt.backbone import decode, scheduler
from clinprompt.backbone.bank import Bank, make_bank, read_inputs
from clinprompt.backbone.head import float32_head, logits_of
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.scheduler import Ask


def test_a_gpu_caches_more_positions_if_its_memory_allows():
    """Cases: 80 GB; 24 GB with a larger model; 8 GB filled by the model."""
    each = 131_072  # bytes a position of Llama 3.1 8B
    assert scheduler.num_fitting(80_000_000_000, 23_040) == 16 * scheduler.MIN_CACHED_POSITIONS
    middle = scheduler.num_fitting(24_000_000_000, each)
    assert scheduler.MIN_CACHED_POSITIONS < middle < 8 * scheduler.MIN_CACHED_POSITIONS
    assert middle * each < 0.1 * 24_000_000_000
    assert scheduler.num_fitting(8_000_000_000, each) == scheduler.MIN_CACHED_POSITIONS


def test_scores_of_a_16_bit_model_are_those_of_a_float32_head(tiny_llama_folder):
    """Logits are multiplied in float32, so options that differ never tie."""
    backbone = load_backbone(str(tiny_llama_folder), device="cpu", dtype=torch.bfloat16)
    rows = random_rows([(5, 0), (7, 0), (4, 0)])
    bank = make_bank(backbone.model, random_prompts(1, 4).detach())
    options = [(token,) for token in range(250)]
    scores = decode.score_choices(backbone, rows, [options] * 3, bank)
    with torch.inference_mode():
        hidden, _ = read_inputs(backbone.model, rows, bank)
        logits = hidden.float() @ backbone.model.get_output_embeddings().weight.float().T
    expected = torch.log_softmax(logits, dim=-1)[:, :250]
    assert hidden.dtype == torch.bfloat16
    torch.testing.assert_close(torch.tensor(scores), expected)
    assert [len(set(own)) for own in scores] == [250] * 3


def test_answers_of_a_16_bit_model_begin_with_the_best_token_in_float32(tiny_llama_folder):
    backbone = load_backbone(str(tiny_llama_folder), device="cpu", dtype=torch.bfloat16)
    rows, bank = random_rows([(length, 0) for length in range(3, 40)]), Bank()
    answers = decode.generate(backbone, rows, bank, limits=[1] * len(rows), end_ids=())
    with torch.inference_mode():
        hidden, _ = read_inputs(backbone.model, rows, bank)
        logits = hidden.float() @ backbone.model.get_output_embeddings().weight.float().T
    assert [ids for (ids,) in answers] == logits.argmax(dim=-1).tolist()


def test_choices_say_whether_they_would_be_written(backbone):
    rows, bank = random_rows([(5, 0), (7, 0), (4, 0)]), Bank()
    written = decode.generate(backbone, rows, bank, limits=[3] * 3, end_ids=())
    choices = [(ids, ids[:1], (*ids[:2], ids[2] ^ 1), (ids[0] ^ 1, *ids[1:])) for ids in written]
    asks = [Ask(row, bank, choices=own) for row, own in zip(rows, choices, strict=True)]
    decode.answer_all(backbone, asks)
    assert [ask.is_greedy for ask in asks] == [[True, True, False, False]] * 3


@pytest.mark.parametrize("has_bias", [False, True])
def test_float32_head_multiplies_as_the_model_does_and_keeps_its_bias(tiny_llama, has_bias):
    """In float32 it is the model's own head, to the bit; in 16 bits a bias is not forgotten."""
    hidden = torch.randn(3, tiny_llama.hidden_size)
    model = copy.deepcopy(tiny_llama.model)
    if has_bias:
        model.lm_head.bias = torch.nn.Parameter(torch.randn(tiny_llama.vocabulary_size))
    assert torch.equal(float32_head(model)(hidden), logits_of(model, hidden))
    own = model.bfloat16().lm_head
    expected = hidden.bfloat16().float() @ own.weight.float().T
    expected = expected + own.bias.float() if has_bias else expected
    torch.testing.assert_close(float32_head(model)(hidden.bfloat16()), expected)
