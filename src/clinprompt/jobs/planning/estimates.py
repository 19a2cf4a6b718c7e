"""Estimate how many numbers a run trains, what it computes and how much memory it needs.

Everything follows from the sizes of the backbone, of rows and the settings; nothing is loaded.

Axes: K source tasks, P prompt positions, R rank, L layers, H hidden size, A query heads, G
key-value heads, D head size, T tokens of a row at its length limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.methods.counts import metaprompt_numbers, prompt_numbers
from clinprompt.methods.resolve import (
    same_metaprompt,
    same_on_sources,
    same_teachers,
    variants_to_distill,
)
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import FitSettings, join_method, split_method
from clinprompt.settings.run import RunConfig

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


@dataclass(frozen=True, slots=True)
class Phase:
    """The work in one part of a run.

    ``operations`` are floating-point operations. ``decoding_steps`` counts the passes that read all
    weights for one more token of each answer of a batch.
    """

    name: str
    steps: int
    tokens: int
    operations: float
    decoding_steps: int = 0

    def seconds(self, rate: float, step_seconds: float = 0.0) -> float:
        """Return the duration at ``rate`` operations per second, with decoding steps."""
        return self.operations / rate + self.decoding_steps * step_seconds


@dataclass(frozen=True, slots=True)
class RowSizes:
    """Mean lengths of a target's rows in tokens, its test rows, and the steps that decode these."""

    inputs: float
    answers: float
    test_rows: float
    decoding_steps: float


def trained_numbers(method: str, configs: Mapping[str, RunConfig], outline: ModelSizes) -> int:
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
    - 16 bytes for each trained number, of the metaprompt or of the teachers trained side by side
    """
    num_teachers = min(config.teacher.together, num_sources)
    num_prompts = max(num_teachers, min(config.distill.rows, num_sources), config.compare.together)
    prompts = num_prompts * config.prompt.length
    fits = (config.teacher, config.distill, config.adapt)
    positions = max(_positions(config, fit) for fit in fits)
    teachers = num_sources * config.prompt.length
    each = 2 * outline.num_layers * outline.key_width * _bytes(config)
    return Memory(
        weights=weight_bytes(config, outline),
        keys_values=each * (2 * prompts + teachers),
        activations=(_computed(config, prompts) + positions) * _activations(config, outline),
        logits=_logits(config, outline, positions),
        trained=_TRAINED_BYTES
        * max(
            metaprompt_numbers(config, outline, num_sources),
            num_teachers * prompt_numbers(config, outline),
        ),
    )


def weight_bytes(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes of the backbone's weights."""
    return outline.num_parameters * _bytes(config)


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


def _positions(config: RunConfig, fit: FitSettings) -> int:
    """Return the positions of the largest micro-batch; a row that is longer has its own."""
    return max(fit.micro_batch_tokens, config.data.max_input_tokens + config.data.max_target_tokens)


def _activations(config: RunConfig, outline: ModelSizes) -> int:
    """Return the bytes that all layers keep of one position for the backward pass.

    The weights are frozen. A layer keeps the inputs of its two norms, in float32 and in the model's
    type (20·H bytes); queries, keys, values and the output of attention (2·A·D + 2·G·D numbers);
    and three times the inner width of its feed-forward layer. Dense attention also keeps its
    weights twice (2·A·(P + T) numbers).
    """
    numbers = 2 * outline.query_width + 2 * outline.key_width + 3 * outline.inner_width
    if outline.attends_densely:
        seen = config.prompt.length + config.data.max_input_tokens + config.data.max_target_tokens
        numbers += 2 * outline.num_heads * seen
    return outline.num_layers * (20 * outline.hidden_size + _bytes(config) * numbers)


def _logits(config: RunConfig, outline: ModelSizes, positions: int) -> int:
    """Return the bytes of the logits, their softmax and their gradient, in float32.

    Only target tokens have logits.
    """
    data = config.data
    share = data.max_target_tokens / (data.max_input_tokens + data.max_target_tokens)
    return int(3 * 4 * positions * share * outline.vocabulary_size)


def _computed(config: RunConfig, prompts: int) -> int:
    """Return how many prompt positions a step computes separately, once for all rows."""
    return prompts if config.prompt.placement == "prefix" else 0


def _bytes(config: RunConfig) -> int:
    return 4 if config.dtype == "float32" else 2


def phases(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sources: Mapping[str, Sequence[str]],
    targets: Sequence[str],
    sizes: Mapping[str, RowSizes] | None = None,
) -> tuple[Phase, ...]:
    """Return the work of a run on one backbone.

    ``configs`` are the settings by variant, ``sources`` the source tasks by suite. ``sizes`` are
    those of the targets whose rows were measured. Rows of other tasks count at the length limits,
    without decoding steps.

    For each position, a weight costs 2 operations forward and 2 backward (frozen weights have no
    gradient). Attention costs 4·A·D operations for each layer, query and key forward, and twice as
    many backward. The head is computed at target tokens only. Validation and routing are not
    counted.
    """
    learned = (*_learned(configs, outline, sources), *_on_sources(configs, outline, sources))
    known = sizes or {}

    def cells(method: str) -> Phase:
        own = configs[split_method(method)[1]]
        rows = [known.get(task) or _longest(own, configs[""], task) for task in targets]
        return _cells(method, configs, outline, rows)

    return (*learned, *map(cells, configs[""].compare.methods))


def _longest(config: RunConfig, plain: RunConfig, task: str) -> RowSizes:
    """Return the sizes of rows at their limits, which are upper bounds."""
    rows = max(config.data.test_rows, config.data.test_label_rows)
    return RowSizes(config.data.max_input_tokens, _limit(plain, task), rows, 0)


def _learned(
    configs: Mapping[str, RunConfig], outline: ModelSizes, sources: Mapping[str, Sequence[str]]
) -> Iterator[Phase]:
    """Yield the work of teachers and metaprompts, once for all variants that share them."""
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


def _on_sources(
    configs: Mapping[str, RunConfig], outline: ModelSizes, sources: Mapping[str, Sequence[str]]
) -> Iterator[Phase]:
    """Yield the work of methods on all source tasks, once for variants that share it."""
    earlier: list[tuple[str, RunConfig]] = []
    for name in configs[""].compare.methods:
        method, own = method_of(name), configs[split_method(name)[1]]
        if method.on_sources is None:
            continue
        known = [run for other, run in earlier if other == method.name]
        if not any(same_on_sources(run, own) for run in known):
            yield _source_training(own, outline, sources[own.suite], name)
        earlier.append((method.name, own))


def _source_training(
    config: RunConfig, outline: ModelSizes, tasks: Sequence[str], name: str
) -> Phase:
    """Return the work of a method on all source tasks; a prompt is read once for each task."""
    fit, make = config.distill, _Work(config, outline, config.data.max_input_tokens)
    answer = sum(_limit(config, task) for task in tasks) / len(tasks)
    num_prompts = min(fit.rows, len(tasks)) if method_of(name).reads_prompt else 0
    work = make.trained(fit.steps, fit.rows, answer, num_prompts * config.prompt.length)
    return make.phase(f"{name} on sources", fit.steps, work)


def _teachers(config: RunConfig, outline: ModelSizes, answers: Sequence[int], name: str) -> Phase:
    make = _Work(config, outline, config.data.max_input_tokens)
    mean = sum(answers) / len(answers)
    steps = len(answers) * config.teacher.steps
    work = make.trained(steps, config.teacher.rows, mean, config.prompt.length)
    return make.phase(name, steps, work)


def _distillation(
    config: RunConfig, outline: ModelSizes, answers: Sequence[int], name: str
) -> Phase:
    make = _Work(config, outline, config.data.max_input_tokens)
    student, mean = config.distill, sum(answers) / len(answers)
    teacher_rows = student.steps * student.rows
    if student.cache_teachers:
        teacher_rows = min(teacher_rows, len(answers) * config.data.train_rows)
    prompts = min(student.rows, len(answers)) * config.prompt.length
    together = make.trained(student.steps, student.rows, mean, prompts)
    return make.phase(name, student.steps, together, make.read(teacher_rows, mean))


def num_cells(method: str, config: RunConfig, num_targets: int) -> int:
    """Return how many cells a method has on one backbone."""
    grid, plain = config.compare, method_of(method)
    if not plain.uses_shots:
        return num_targets
    shots = [one for one in grid.shots if plain.allows_all_shots or one != "all"]
    return num_targets * len(shots) * len(grid.seeds)


def _cells(
    name: str, configs: Mapping[str, RunConfig], outline: ModelSizes, sizes: Sequence[RowSizes]
) -> Phase:
    """Return the work of a method's cells, without the examples of in-context learning."""
    method, own = method_of(name), configs[split_method(name)[1]]
    cells = num_cells(name, configs[""], len(sizes))
    inputs, answers, rows, decoding = (
        sum(values) / len(sizes) for values in zip(*map(astuple, sizes), strict=True)
    )
    make, has_prompt = _Work(own, outline, inputs), method.reads_prompt
    work = [make.read(cells * rows, answers, has_prompt=has_prompt)]
    steps = 0
    if method.count(own, outline):
        steps = cells * own.adapt.method_steps.get(method.name, own.adapt.steps)
        prompts = own.prompt.length if has_prompt else 0
        is_full = method.trains == "weights"
        work.append(make.trained(steps, own.adapt.rows, answers, prompts, trains_weights=is_full))
    phase = make.phase(f"{name} ({cells})", steps, *work)
    return replace(phase, decoding_steps=round(cells * decoding))


def _limit(config: RunConfig, task: str) -> int:
    return config.data.target_tokens.get(task, config.data.max_target_tokens)


@dataclass(frozen=True, slots=True)
class _Work:
    """Count the tokens and operations of rows with inputs of so many tokens."""

    config: RunConfig
    outline: ModelSizes
    inputs: float

    def phase(self, name: str, steps: int, *work: tuple[float, float]) -> Phase:
        tokens, operations = (sum(part) for part in zip(*work, strict=True))
        return Phase(name, steps, round(tokens), operations)

    def read(self, rows: float, answer: float, *, has_prompt: bool = True) -> tuple[float, float]:
        """Return tokens and operations of one forward pass over so many rows."""
        linear, attention = self._row(answer, has_prompt=has_prompt)
        return rows * (self.inputs + answer), rows * (linear + attention)

    def trained(
        self,
        steps: int,
        rows: int,
        answer: float,
        prompts: int,
        *,
        trains_weights: bool = False,
    ) -> tuple[float, float]:
        """Return tokens and operations of training steps with ``prompts`` prompt positions each."""
        linear, attention = self._row(answer, has_prompt=prompts > 0)
        own = _computed(self.config, prompts)
        tokens = rows * (self.inputs + answer) + own
        step = rows * ((3 if trains_weights else 2) * linear + 3 * attention)
        return steps * tokens, steps * (step + own * 4.0 * self.outline.layer_weights)

    def _row(self, answer: float, *, has_prompt: bool) -> tuple[float, float]:
        outline, length = self.outline, self.config.prompt.length if has_prompt else 0
        behind = length if self.config.prompt.placement == "suffix" else 0
        tokens = self.inputs + answer + behind
        seen = length - behind + tokens / 2
        head = answer * outline.vocabulary_size * outline.hidden_size
        linear = 2.0 * (tokens * outline.layer_weights + head)
        return linear, 4.0 * outline.num_layers * outline.query_width * tokens * seen
