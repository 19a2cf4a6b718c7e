"""Estimate how many numbers a run trains and how much memory that takes.

Everything follows from the sizes of the backbone and the settings; nothing is loaded.

Axes: K source tasks, P prompt positions, R rank, L layers, H hidden size, A query heads, G
key-value heads, D head size, T tokens of a row at its length limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.methods.counts import metaprompt_numbers, prompt_numbers
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import StepSettings, split_method
from clinprompt.settings.run import RunConfig

# A scale of one byte for 64 weights of 4 bits, and one of four bytes for 256 of these scales.
_BYTES_OF_WEIGHTS = {"8-bit": 1.0, "4-bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
_TRAINED_BYTES = 16  # float32: the number, its gradient and the two moments of AdamW


@dataclass(frozen=True, slots=True)
class Memory:
    """The most bytes that training holds at a time, by purpose."""

    weights: int
    keys_values: int
    activations: int
    logits: int
    trained: int

    @property
    def total(self) -> int:
        """Return the sum of all parts."""
        return self.weights + self.keys_values + self.activations + self.logits + self.trained


def numbers_to_train(method: str, configs: Mapping[str, RunConfig], outline: ModelSizes) -> int:
    """Return how many numbers METHOD or METHOD@VARIANT trains for one task (0: none).

    ``configs`` are the settings by variant.

    Raises:
        SettingError: the settings name layers for LoRA that the backbone does not have.
    """
    config = configs[split_method(method)[1]]
    return method_of(method).count(config, outline)


def prompt_memory(config: RunConfig, outline: ModelSizes, num_sources: int) -> Memory:
    """Estimate the most memory that training teachers, a metaprompt or several prompts needs.

    A step has at most k prompts of P positions: as many as teachers or prompts of a comparison that
    are trained side by side, or sources in a distillation step. With b bytes per number and N
    positions in the largest micro-batch, the parts are:

    - keys and values of the prompts and their gradients, 2·2·L·G·D·k·P·b, and keys and values of
      all K teachers, 2·L·G·D·K·P·b
    - activations of N + k·P positions (of N unless prompts are before the input)
    - 16 bytes for each trained number, of the metaprompt or of the prompts trained side by side
    """
    num_teachers = min(config.teacher.together, num_sources)
    side_by_side = max(num_teachers, config.compare.together)
    num_prompts = max(side_by_side, min(config.distill.rows, num_sources))
    prompts = num_prompts * config.prompt.length
    fits = (config.teacher, config.distill, config.adapt)
    positions = max(_positions(config, fit) for fit in fits)
    teachers = num_sources * config.prompt.length
    each = 2 * outline.num_layers * outline.key_width * _bytes(config)
    return Memory(
        weights=_held_weights(config, outline),
        keys_values=each * (2 * prompts + teachers),
        activations=(computed_positions(config, prompts) + positions)
        * _activations(config, outline),
        logits=_logits(config, outline, positions),
        trained=_TRAINED_BYTES
        * max(
            metaprompt_numbers(config, outline, num_sources),
            side_by_side * prompt_numbers(config, outline),
        ),
    )


def weight_bytes(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes of the backbone's weights; only those of linear layers are quantized."""
    others = outline.num_parameters - outline.linear_weights
    each = _BYTES_OF_WEIGHTS.get(config.quantize, _bytes(config))
    return int(others * _bytes(config) + outline.linear_weights * each)


def _held_weights(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes of the weights, with one quantized layer turned back into numbers."""
    unpacked = 0 if config.quantize == "none" else outline.largest_linear * _bytes(config)
    return weight_bytes(config, outline) + unpacked


def adapter_memory(
    config: RunConfig, outline: ModelSizes, num_trained: int, *, on_sources: bool = False
) -> Memory:
    """Estimate the most memory that training ``num_trained`` numbers of LoRA adapters needs.

    There are no prompts. The inputs of the adapted layers are kept for the adapters' gradients. If
    they are also trained ``on_sources``, the larger micro-batches count.
    """
    fits = (config.adapt, config.distill) if on_sources else (config.adapt,)
    positions = max(_positions(config, fit) for fit in fits)
    inputs = sum(outline.linear_inputs[name] for name in config.baselines.lora_modules)
    kept = _activations(config, outline) + inputs * _bytes(config)
    return Memory(
        weights=weight_bytes(config, outline),
        keys_values=0,
        activations=positions * kept,
        logits=_logits(config, outline, positions),
        trained=_TRAINED_BYTES * num_trained,
    )


def _positions(config: RunConfig, fit: StepSettings) -> int:
    """Return the positions of the largest micro-batch; a row that is longer has its own."""
    return max(fit.micro_batch_tokens, config.data.max_input_tokens + config.data.max_target_tokens)


def _activations(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes that all layers keep of one position for the backward pass.

    The weights are frozen. A layer keeps the inputs of its two norms, in float32 and in the model's
    type (20·H bytes); queries, keys, values and the output of attention (2·A·D + 2·G·D numbers);
    and three times the inner width of its feed-forward layer. Dense attention also keeps its
    weights twice (2·A·(P + T) numbers). With ``gradient_checkpointing``, each layer keeps its input
    only, and one layer at a time all of these.
    """
    numbers = 2 * outline.query_width + 2 * outline.key_width + 3 * outline.inner_width
    if outline.attends_densely:
        seen = config.prompt.length + config.data.max_input_tokens + config.data.max_target_tokens
        numbers += 2 * outline.num_heads * seen
    layer = 20 * outline.hidden_size + _bytes(config) * numbers
    if config.gradient_checkpointing:
        return outline.num_layers * outline.hidden_size * _bytes(config) + layer
    return outline.num_layers * layer


def _logits(config: RunConfig, outline: ModelSizes, positions: int) -> int:
    """Return the bytes of the logits, their softmax and their gradient, in float32.

    Only target tokens have logits.
    """
    data = config.data
    share = data.max_target_tokens / (data.max_input_tokens + data.max_target_tokens)
    return int(3 * 4 * positions * share * outline.vocabulary_size)


def computed_positions(config: RunConfig, prompts: int) -> int:
    """Return how many prompt positions a step computes separately, once for all rows."""
    return prompts if config.prompt.placement == "prefix" else 0


def _bytes(config: RunConfig) -> int:
    return 4 if config.dtype == "float32" else 2
