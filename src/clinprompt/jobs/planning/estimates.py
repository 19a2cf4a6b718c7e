"""Estimate what a run trains, computes and holds in memory: arithmetic on sizes and settings.

Axes: K source tasks, P prompt positions, R rank, L layers, H hidden size, A query heads, G
key-value heads, D head size, V vocabulary, T tokens of a row, counted at its limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.methods.counts import metaprompt_numbers, prompt_numbers
from clinprompt.methods.resolve import same_metaprompt, same_teachers, variants_to_distill
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import FitSettings, join_method, split_method
from clinprompt.settings.run import RunConfig

_TRAINED_BYTES = 16  # in float32: value, gradient, AdamW's two moments


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that training holds at once."""

    weights: int
    keys_values: int
    activations: int
    logits: int
    trained: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.keys_values + self.activations + self.logits + self.trained


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run: optimizer steps, tokens read or written, floating-point operations."""

    name: str
    steps: int
    tokens: int
    operations: float

    def seconds(self, rate: float) -> float:
        """Return how long it takes at so many operations a second."""
        return self.operations / rate


def trained_numbers(method: str, configs: Mapping[str, RunConfig], outline: ModelSizes) -> int:
    """Return how many numbers METHOD or METHOD@VARIANT trains for one task (0: none).

    ``configs`` are the settings by variant.

    Raises:
        SettingError: LoRA is to adapt layers that the backbone does not have.
    """
    config = configs[split_method(method)[1]]
    return method_of(method).count(config, outline)


def prompt_memory(config: RunConfig, outline: ModelSizes, num_sources: int) -> Memory:
    """Estimate what teachers, distilling, or fitting a team of prompts holds at once, at most.

    With k = max(min(t, K), min(rows of a step, K), ``compare.together``) prompts of P positions,
    t = ``teacher.together``, N positions of the largest micro-batch and b bytes a number: weights
    b·(all); keys and values of the prompts with their gradients 2·2·L·G·D·k·P·b; activations
    (k·P + N) times those of a position (see ``_activations``); logits as in ``_logits``; 16 bytes a
    trained number, of the metaprompt or of min(t, K) teachers. Teachers' keys and values, P a
    source, come on top.
    """
    num_taught = min(config.teacher.together, num_sources)
    num_prompts = max(num_taught, min(config.distill.rows, num_sources), config.compare.together)
    prompts = num_prompts * config.prompt.length
    fits = (config.teacher, config.distill, config.adapt)
    positions = max(_positions(config, fit) for fit in fits)
    taught = num_sources * config.prompt.length
    each = 2 * outline.num_layers * outline.key_width * _bytes(config)
    return Memory(
        weights=weight_bytes(config, outline),
        keys_values=each * (2 * prompts + taught),
        activations=(_computed(config, prompts) + positions) * _activations(config, outline),
        logits=_logits(config, outline, positions),
        trained=_TRAINED_BYTES
        * max(
            metaprompt_numbers(config, outline, num_sources),
            num_taught * prompt_numbers(config, outline),
        ),
    )


def weight_bytes(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes of the backbone's weights."""
    return outline.num_parameters * _bytes(config)


def adapter_memory(config: RunConfig, outline: ModelSizes, num_trained: int) -> Memory:
    """Estimate what fitting ``num_trained`` numbers of LoRA adapters holds at once.

    As ``prompt_memory`` without prompts, and with the inputs of the adapted layers, b bytes a
    number, kept for the adapters' own gradients.
    """
    positions = _positions(config, config.adapt)
    inputs = sum(outline.linear_inputs[name] for name in config.baselines.lora_modules)
    kept = _activations(config, outline) + inputs * _bytes(config)
    return Memory(
        weights=weight_bytes(config, outline),
        keys_values=0,
        activations=positions * kept,
        logits=_logits(config, outline, positions),
        trained=_TRAINED_BYTES * num_trained,
    )


def _positions(config: RunConfig, fit: FitSettings) -> int:
    """Return the positions of a micro-batch; a longer row is one of its own."""
    return max(fit.micro_batch_tokens, config.data.max_input_tokens + config.data.max_target_tokens)


def _activations(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes that a position's way back needs, in all layers, weights being frozen.

    A layer keeps two norms' inputs, in float32 and in the model's numbers (20·H bytes), queries,
    keys, values and what attention gives (2·A·D + 2·G·D), and three times the inner width of its
    feed-forward layer; where attention is dense, its weights too, twice (2·A·(P + T)).
    """
    numbers = 2 * outline.query_width + 2 * outline.key_width + 3 * outline.inner_width
    if outline.attends_densely:
        seen = config.prompt.length + config.data.max_input_tokens + config.data.max_target_tokens
        numbers += 2 * outline.num_heads * seen
    return outline.num_layers * (20 * outline.hidden_size + _bytes(config) * numbers)


def _logits(config: RunConfig, outline: ModelSizes, positions: int) -> int:
    """Return the bytes of a micro-batch's logits: float32, three times (with gradient and softmax).

    Only target tokens have logits.
    """
    data = config.data
    share = data.max_target_tokens / (data.max_input_tokens + data.max_target_tokens)
    return int(3 * 4 * positions * share * outline.vocabulary_size)


def _computed(config: RunConfig, prompts: int) -> int:
    """Return how many of a step's prompt positions are read on their own, once for all rows."""
    return prompts if config.prompt.placement == "prefix" else 0


def _bytes(config: RunConfig) -> int:
    return 4 if config.dtype == "float32" else 2


def phases(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sources: Mapping[str, Sequence[str]],
    targets: Sequence[str],
) -> tuple[Phase, ...]:
    """Return the work of a run on one backbone, with every row as long as its limits allow.

    ``configs`` are the settings by variant, ``sources`` the source tasks by suite.

    A weight costs 2 operations a position forward, and 2 on the way back to a prompt or an adapter
    (its own gradient is never computed); attention 4·A·D for each layer, query and key forward, and
    twice that back; the head counts at target tokens only. Validation and routing are left out.
    """
    answers = [_limit(configs[""], task) for task in targets]
    learned = _learned(configs, outline, sources)
    methods = configs[""].compare.methods
    return (*learned, *(_cells(method, configs, outline, answers) for method in methods))


def _learned(
    configs: Mapping[str, RunConfig], outline: ModelSizes, sources: Mapping[str, Sequence[str]]
) -> Iterator[Phase]:
    """Yield the work of teachers and metaprompts, each once for all variants that share it."""
    earlier: list[tuple[RunConfig, Sequence[str]]] = []
    for variant in variants_to_distill(configs):
        own = configs[variant]
        tasks = sources[own.suite]
        known = {task for run, names in earlier if same_teachers(run, own) for task in names}
        if new := [_limit(own, task) for task in tasks if task not in known]:
            yield _teachers(own, outline, new, join_method("teachers", variant))
        if not any(same_metaprompt(run, own) for run, _ in earlier):
            limits = [_limit(own, task) for task in tasks]
            yield _distillation(own, outline, limits, join_method("distillation", variant))
        earlier.append((own, tasks))


def _teachers(config: RunConfig, outline: ModelSizes, answers: Sequence[int], name: str) -> Phase:
    make, mean = _Reader(config, outline), sum(answers) / len(answers)
    steps = len(answers) * config.teacher.steps
    work = make.trained(steps, config.teacher.rows, mean, config.prompt.length)
    return make.phase(name, steps, work)


def _distillation(
    config: RunConfig, outline: ModelSizes, answers: Sequence[int], name: str
) -> Phase:
    student, make, mean = config.distill, _Reader(config, outline), sum(answers) / len(answers)
    taught_rows = student.steps * student.rows
    if student.cache_teachers:
        taught_rows = min(taught_rows, len(answers) * config.data.train_rows)
    prompts = min(student.rows, len(answers)) * config.prompt.length
    together = make.trained(student.steps, student.rows, mean, prompts)
    return make.phase(name, student.steps, together, make.read(taught_rows, mean))


def num_cells(method: str, config: RunConfig, num_targets: int) -> int:
    """Return how many cells of the grid a method has on one backbone."""
    grid, plain = config.compare, method_of(method)
    if not plain.uses_shots:
        return num_targets
    shots = [one for one in grid.shots if plain.allows_all_shots or one != "all"]
    return num_targets * len(shots) * len(grid.seeds)


def _cells(
    name: str, configs: Mapping[str, RunConfig], outline: ModelSizes, answers: Sequence[int]
) -> Phase:
    """Return the work of a method's cells; demonstrations in context are left out."""
    method, own = method_of(name), configs[split_method(name)[1]]
    cells = num_cells(name, configs[""], len(answers))
    make, mean = _Reader(own, outline), sum(answers) / len(answers)
    has_prompt = method.reads_prompt
    work = [make.read(cells * own.data.test_rows, mean, has_prompt=has_prompt)]
    steps = 0
    if method.count(own, outline):
        steps = cells * own.adapt.method_steps.get(method.name, own.adapt.steps)
        prompts = own.prompt.length if has_prompt else 0
        work.append(
            make.trained(
                steps, own.adapt.rows, mean, prompts, trains_weights=method.trains == "weights"
            )
        )
    return make.phase(f"{name} ({cells})", steps, *work)


def _limit(config: RunConfig, task: str) -> int:
    return config.data.target_tokens.get(task, config.data.max_target_tokens)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Count tokens and operations of rows under a run's settings."""

    config: RunConfig
    outline: ModelSizes

    def phase(self, name: str, steps: int, *work: tuple[float, float]) -> Phase:
        tokens, operations = (sum(part) for part in zip(*work, strict=True))
        return Phase(name, steps, round(tokens), operations)

    def read(self, rows: int, answer: float, *, has_prompt: bool = True) -> tuple[float, float]:
        """Return tokens and operations of reading rows once."""
        linear, attention = self._row(answer, has_prompt=has_prompt)
        return rows * (self.config.data.max_input_tokens + answer), rows * (linear + attention)

    def trained(
        self,
        steps: int,
        rows: int,
        answer: float,
        prompts: int,
        *,
        trains_weights: bool = False,
    ) -> tuple[float, float]:
        """Return those of training steps with so many prompt positions each (0: no prompt)."""
        linear, attention = self._row(answer, has_prompt=prompts > 0)
        own = _computed(self.config, prompts)
        tokens = rows * (self.config.data.max_input_tokens + answer) + own
        step = rows * ((3 if trains_weights else 2) * linear + 3 * attention)
        return steps * tokens, steps * (step + own * 4.0 * self.outline.layer_weights)

    def _row(self, answer: float, *, has_prompt: bool) -> tuple[float, float]:
        outline, length = self.outline, self.config.prompt.length if has_prompt else 0
        behind = length if self.config.prompt.placement == "suffix" else 0
        tokens = self.config.data.max_input_tokens + answer + behind
        seen = length - behind + tokens / 2
        head = answer * outline.vocabulary_size * outline.hidden_size
        linear = 2.0 * (tokens * outline.layer_weights + head)
        return linear, 4.0 * outline.num_layers * outline.query_width * tokens * seen
