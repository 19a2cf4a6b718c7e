"""A backbone divided over two processes computes what one process computes, in both of them."""

import pytest
import torch
from several_processes import in_processes
from tiny import VOCABULARY, byte_tokenizer, random_prompts, random_rows, save_tiny
from transformers import Qwen2Config, Qwen2ForCausalLM

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import score_choices, write
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.backbone.head import float32_head
from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.load import load_backbone
from clinprompt.batches.encode import collate
from clinprompt.batches.group_rows import micro_batches
from clinprompt.training.member import TASK_LOSS

NUM_PROCESSES = 2
MODELS = ("llama", "qwen2")
PLACEMENTS = pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
ROWS = random_rows([(9, 3), (4, 2), (12, 1), (30, 4)], tasks=(0, 1))
QUESTIONS = random_rows([(9, 0), (2, 0), (30, 0), (14, 0), (1, 0)], tasks=(0, 1), seed=3)
CHOICES = [((10, 11, 12), (10, 11, 13), (40,)), ((5,), (6, 7))]
END = 257
pytestmark = pytest.mark.slow


def save_qwen2(folder):
    """Save a random model with biases, tied embeddings and a layer that sees 5 positions only.

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
        eos_token_id=END,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def results(backbone):
    """Return everything that a backbone computes with prompts, by name."""
    found = {"embeddings": backbone.embeddings}
    found["in layers"] = to_layer_prompts(backbone.model, random_prompts(2, 4))
    for placement in ("prefix", "suffix", "layers"):
        start = found["in layers"] if placement == "layers" else random_prompts(2, 4)
        own = {**trained(backbone, start, placement), **answered(backbone, start, placement)}
        found |= {f"{placement} {name}": value for name, value in own.items()}
    return found


def trained(backbone, start, placement):
    """Return the loss of a step of several micro-batches, and the gradient of its prompts."""
    prompts = start.clone().requires_grad_()
    step = StepPrompts(prompts, (0, 1), (0, 0), placement)
    groups = micro_batches(ROWS, max_tokens=40)
    batches = [collate([ROWS[i] for i in group], pad_id=backbone.pad_id) for group in groups]
    [loss] = accumulate_gradients(backbone.model, step, batches, TASK_LOSS)
    return {"loss": torch.tensor(loss.total), "gradient": prompts.grad}


def answered(backbone, start, placement):
    """Return greedy answers, each after its length, and the scores of choices."""
    with torch.no_grad():
        bank = make_bank(backbone.model, start, placement)
    limits, rules = [12] * len(QUESTIONS), [None] * len(QUESTIONS)
    written = write(backbone, QUESTIONS, bank, limits=limits, end_ids=(END,), constraints=rules)
    scores = score_choices(backbone, QUESTIONS[:2], CHOICES, bank)
    return {
        "text": torch.tensor([number for one in written for number in (len(one.ids), *one.ids)]),
        "certainty": torch.tensor([value for one in written for value in one.log_probabilities]),
        "scores": torch.tensor([score for own in scores for score in own]),
    }


def results_in_16_bits(backbone):
    """Return what the head of a backbone in bfloat16 computes in float32, and greedy answers."""
    hidden = torch.randn(3, backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = float32_head(backbone.model)(hidden.bfloat16())
    return {"head": logits, "text": answered(backbone, random_prompts(2, 4), "prefix")["text"]}


def results_of(folder, *, tensor_parallel=False):
    """Return the results of a saved model in float32 and bfloat16, as arrays."""
    options = {"device": "cpu", "tensor_parallel": tensor_parallel}
    found = results(load_backbone(str(folder), **options))
    short = results_in_16_bits(load_backbone(str(folder), dtype=torch.bfloat16, **options))
    found |= {f"bfloat16 {name}": value for name, value in short.items()}
    return {name: value.numpy() for name, value in found.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a Llama, two of whose query heads share a key-value head, and a Qwen2."""
    root = tmp_path_factory.mktemp("models")
    return [save_tiny(root / "llama", "llama", initializer_range=0.3), save_qwen2(root / "qwen2")]


@pytest.fixture(scope="module")
def divided(folders):
    """Return the results of each process, by model."""

    def work(_):
        return [results_of(folder, tensor_parallel=True) for folder in folders]

    every = in_processes(NUM_PROCESSES, work, seconds=300)
    return dict(zip(MODELS, zip(*every, strict=True), strict=True))


@pytest.fixture(scope="module")
def alone(folders):
    return dict(zip(MODELS, map(results_of, folders), strict=True))


@pytest.fixture(params=MODELS)
def both(request, alone, divided):
    """Return what one process computes of a model, and what the first of two computes."""
    return alone[request.param], divided[request.param][0]


def assert_close(found, expected, error):
    """Compare the difference of two arrays with the second one, by their norms."""
    found, expected = (torch.tensor(one).double() for one in (found, expected))
    assert found.shape == expected.shape
    assert expected.norm() > 0
    assert (found - expected).norm() < error * expected.norm()


@pytest.mark.parametrize("model", MODELS)
def test_all_processes_compute_the_same_bits(divided, model):
    first, *others = divided[model]
    for other in others:
        assert {name: one.tolist() for name, one in other.items()} == {
            name: one.tolist() for name, one in first.items()
        }


@PLACEMENTS
def test_loss_and_gradient_of_a_step_equal_those_of_one_process(both, placement):
    expected, found = both
    assert_close(found[f"{placement} loss"], expected[f"{placement} loss"], 1e-6)
    assert_close(found[f"{placement} gradient"], expected[f"{placement} gradient"], 1e-5)


@PLACEMENTS
def test_greedy_answers_equal_those_of_one_process(both, placement):
    expected, found = both
    assert found[f"{placement} text"].tolist() == expected[f"{placement} text"].tolist()
    assert_close(found[f"{placement} certainty"], expected[f"{placement} certainty"], 1e-5)


@PLACEMENTS
def test_choices_score_as_in_one_process(both, placement):
    expected, found = (one[f"{placement} scores"] for one in both)
    assert_close(found, expected, 1e-6)


def test_a_prompt_in_every_layer_starts_with_the_heads_of_all_processes(both):
    expected, found = (one["in layers"] for one in both)
    assert_close(found, expected, 1e-6)


def test_each_process_can_have_all_token_embeddings(both):
    expected, found = (one["embeddings"] for one in both)
    assert found.tolist() == expected.tolist()


def test_the_head_of_a_model_in_16_bits_multiplies_in_32(both):
    expected, found = (one["bfloat16 head"] for one in both)
    assert_close(found, expected, 1e-6)
