"""A backbone divided over two processes computes what one process computes, in both of them."""

import os
import subprocess
import sys
from pathlib import Path

import divided_backbone
import pytest
import torch
from tiny import VOCABULARY, byte_tokenizer, save_tiny
from transformers import Qwen2Config, Qwen2ForCausalLM

HERE = Path(__file__).parent
NUM_PROCESSES = 2
PLACEMENTS = pytest.mark.parametrize("placement", divided_backbone.PLACEMENTS)
pytestmark = pytest.mark.slow


def save_qwen2(folder):
    """Save a random model with biases, tied embeddings, a layer that sees 5 positions only.

    Each query head has its own key-value head. The vocabulary cannot be divided evenly.
    """
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=VOCABULARY - 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        initializer_range=0.3,
        layer_types=["sliding_attention", "full_attention"],
        use_sliding_window=True,
        sliding_window=5,
        tie_word_embeddings=True,
        eos_token_id=divided_backbone.END,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a Llama, two of whose query heads share a key-value head, and a Qwen2."""
    root = tmp_path_factory.mktemp("models")
    return [save_tiny(root / "llama", "llama", initializer_range=0.3), save_qwen2(root / "qwen2")]


@pytest.fixture(scope="module")
def divided(folders, tmp_path_factory):
    """Return the results of each process, by model."""
    out = tmp_path_factory.mktemp("divided")
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    script = [sys.executable, "-W", "error", HERE / "divided_backbone.py"]
    started = [
        subprocess.Popen([*script, str(rank), str(NUM_PROCESSES), out, *folders], env=environment)
        for rank in range(NUM_PROCESSES)
    ]
    try:
        assert [one.wait(timeout=300) for one in started] == [0] * NUM_PROCESSES
    finally:
        for one in started:
            one.kill()
    return {
        folder.name: [torch.load(out / f"{folder.name}-{n}.pt") for n in range(NUM_PROCESSES)]
        for folder in folders
    }


@pytest.fixture(scope="module")
def alone(folders):
    return {folder.name: divided_backbone.results_of(folder) for folder in folders}


@pytest.fixture(params=["llama", "qwen2"])
def results(request, alone, divided):
    """Return what one process computes, and what the first of two computes, of each model."""
    return alone[request.param], divided[request.param][0]


def relative_error(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("model", ["llama", "qwen2"])
def test_all_processes_compute_the_same_bits(divided, model):
    first, *others = divided[model]
    for other in others:
        assert first.keys() == other.keys()
        assert [name for name in first if not torch.equal(first[name], other[name])] == []


@PLACEMENTS
def test_the_loss_equals_that_of_one_process(results, placement):
    expected, found = (float(one[f"{placement} loss"]) for one in results)
    assert found == pytest.approx(expected, rel=1e-6)


@PLACEMENTS
def test_the_gradient_equals_that_of_one_process(results, placement):
    expected, found = (one[f"{placement} gradient"] for one in results)
    assert expected.norm() > 0
    assert relative_error(found, expected) < 1e-5


@PLACEMENTS
def test_greedy_answers_equal_those_of_one_process(results, placement):
    expected, found = results
    assert found[f"{placement} text"].tolist() == expected[f"{placement} text"].tolist()
    assert (
        relative_error(found[f"{placement} certainty"], expected[f"{placement} certainty"]) < 1e-5
    )


@PLACEMENTS
def test_choices_score_as_in_one_process(results, placement):
    expected, found = (one[f"{placement} scores"] for one in results)
    assert relative_error(found, expected) < 1e-6


def test_a_prompt_in_every_layer_starts_as_in_one_process(results):
    """It has the heads of all processes."""
    expected, found = (one["in layers"] for one in results)
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 1e-6


def test_each_process_has_all_token_embeddings(results):
    expected, found = (one["embeddings"] for one in results)
    assert torch.equal(found, expected)


def test_the_head_of_a_model_in_16_bits_multiplies_in_32(results):
    expected, found = (one["bfloat16 head"] for one in results)
    assert found.dtype == torch.float32
    assert relative_error(found, expected) < 1e-6
