"""Estimate the steps, tokens and operations of a run, part by part, and how long they take.

Everything follows from the sizes of the backbone, of rows and the settings; nothing is loaded.

Axes: L layers, A query heads, D head size, P prompt positions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.jobs.planning.memory import computed_positions
from clinprompt.methods.resolve import (
    same_metaprompt,
    same_on_sources,
    same_teachers,
    variants_to_distill,
)
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import join_method, split_method
from clinprompt.settings.run import RunConfig


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
        own = computed_positions(self.config, prompts)
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
