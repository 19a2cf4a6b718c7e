"""Measure how fast this machine reads, trains and decodes with a backbone of given sizes.

One layer of the backbone's sizes is run on random inputs by the code that runs the real layers.
So the times include everything that a layer does. No weights are loaded.

Axes: L layers, H hidden size, V vocabulary, N positions, B rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from clinprompt.backbone.arena import Arena
from clinprompt.backbone.load import DTYPES
from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.backbone.packed import pack_rows, read_packed, use_packed_attention
from clinprompt.backbone.shared_prefix import Prefix

_MEASURED_SECONDS = 0.4  # of each of six measurements
_POSITIONS = 256  # of a row, and of the cache of a decoded row
_ROWS = 4  # a micro-batch of training has about so many
_DECODED_ROWS = 16
_STEPS = 8  # of a measured decoding
_OPERATIONS = 2e10  # at most, of one measured pass, so that it takes seconds on any machine
_HEAD_NUMBERS = 2**25  # of the measured part of the head, more than fit into most caches
_OPERATIONS_PER_BYTE = 200  # of a GPU, where a rate is given and memory is not measured


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a machine runs a backbone.

    ``reading`` and ``training`` are operations per second, forward and forward with backward.
    ``step_seconds`` is the time of a decoding step of any number of rows, ``row_seconds`` what each
    row adds to it.
    """

    reading: float
    training: float
    step_seconds: float
    row_seconds: float


def given_speed(rate: float, outline: ModelSizes, num_bytes: int) -> Speed:
    """Return the speed of a machine that uses ``rate`` operations per second fully.

    ``num_bytes`` are those of all weights, which a decoding step reads once.
    """
    operations = 2.0 * (outline.layer_weights + outline.vocabulary_size * outline.hidden_size)
    step = num_bytes * _OPERATIONS_PER_BYTE / rate
    return Speed(rate, rate, step, operations / rate)


def measure_speed(outline: ModelSizes, dtype: Literal["float32", "bfloat16"]) -> Speed:
    """Measure one layer and the head of a backbone on this machine, on a GPU if there is one.

    A mixture of experts is measured as a layer with the experts that one position uses.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _one_layer(outline, DTYPES[dtype], device)
    weights = outline.layer_weights / outline.num_layers
    length = max(1, min(_POSITIONS, int(_OPERATIONS / (2 * _ROWS * weights))))
    operations = _operations(outline, weights, length)
    reading = operations / _seconds(lambda: _read(model, length, trains=False))
    training = 2 * operations / _seconds(lambda: _read(model, length, trains=True))
    step, row = (
        outline.num_layers * layer + head
        for layer, head in zip(_decoding(model), _head(outline, device), strict=True)
    )
    return Speed(reading, training, step, row)


def _operations(outline: ModelSizes, weights: float, length: int) -> float:
    """Return the operations of one layer forward: see ``work.phases``."""
    attention = 4.0 * outline.query_width * length * length / 2
    return _ROWS * (2.0 * length * weights + attention)


def _one_layer(outline: ModelSizes, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Return a Llama of one layer with the backbone's sizes, all of whose weights are equal."""
    head_size = outline.query_width // outline.num_heads
    config = LlamaConfig(
        vocab_size=2,
        bos_token_id=None,
        eos_token_id=None,
        hidden_size=outline.hidden_size,
        intermediate_size=outline.inner_width,
        num_hidden_layers=1,
        num_attention_heads=outline.num_heads,
        num_key_value_heads=outline.key_width // head_size,
        head_dim=head_size,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).to(dtype).to(device).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.fill_(0.01)
    use_packed_attention(model)
    return model


def _read(model: PreTrainedModel, length: int, *, trains: bool) -> None:
    """Read rows, and with ``trains`` go back to their embeddings."""
    embeds = model.get_input_embeddings().weight.new_ones(_ROWS * length, model.config.hidden_size)
    packed = pack_rows([length] * _ROWS, [0] * _ROWS, (), embeds.device)
    with torch.set_grad_enabled(trains):
        hidden = read_packed(model, embeds.requires_grad_(trains), packed)
    if trains:
        hidden.sum().backward()  # type: ignore[no-untyped-call]
        assert embeds.grad is not None
    _wait(hidden)


def _decoding(model: PreTrainedModel) -> tuple[float, float]:
    """Return the seconds of a decoding step of one layer, and the further seconds of each row."""
    step, row = _line(lambda rows: _seconds(lambda: _decode(model, rows)))
    return step / _STEPS, row / _STEPS


def _decode(model: PreTrainedModel, rows: int) -> None:
    """Decode a few tokens of rows."""
    config, weight = model.config, model.get_input_embeddings().weight
    shape = (rows, config.num_key_value_heads, _POSITIONS, config.head_dim)
    cached = (weight.new_ones(shape), weight.new_ones(shape))
    positions = torch.arange(_POSITIONS, device=weight.device).expand(rows, -1)
    past = Prefix((cached,), positions, torch.ones_like(positions, dtype=torch.bool))
    with torch.inference_mode():
        length = past.positions.shape[1]
        arena = Arena(model, max_positions=rows * (length + _STEPS))
        arena.admit(past, [length] * rows, [length + _STEPS] * rows)
        for _ in range(_STEPS):
            hidden = arena.step(torch.ones(rows, dtype=torch.long, device=weight.device))
    _wait(hidden)


def _head(outline: ModelSizes, device: torch.device) -> tuple[float, float]:
    """Return the seconds that logits and the choice of a token take, for any rows and for each."""
    words = min(outline.vocabulary_size, max(1, _HEAD_NUMBERS // outline.hidden_size))
    weight = torch.ones(words, outline.hidden_size, device=device)

    def choose(rows: int) -> None:
        logits = linear(weight[:1].expand(rows, -1), weight)
        _wait(logits.argmax(dim=-1) + logits.logsumexp(dim=-1))

    step, row = _line(lambda rows: _seconds(lambda: choose(rows)))
    share = outline.vocabulary_size / words
    return share * step, share * row


def _line(seconds: Callable[[int], float]) -> tuple[float, float]:
    """Return constant and slope of the seconds that a number of rows takes; neither is negative."""
    one, many = seconds(1), seconds(_DECODED_ROWS)
    slope = max(0.0, many - one) / (_DECODED_ROWS - 1)
    return max(0.0, one - slope), slope


def _seconds(run: Callable[[], None]) -> float:
    """Return the mean duration of a call."""
    run()  # warm up
    count, started = 0, perf_counter()
    while not count or perf_counter() - started < _MEASURED_SECONDS:
        run()
        count += 1
    return (perf_counter() - started) / count


def _wait(result: torch.Tensor) -> None:
    """Wait for a GPU: a number that is read must have been computed."""
    float(result.detach().flatten()[0])
