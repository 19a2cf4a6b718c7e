"""Plan a run: what it needs, what is missing and what it costs. Loads no weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar

from clinprompt.backbone.load import load_tokenizer
from clinprompt.backbone.model_sizes import ModelSizes, inspect_backbone
from clinprompt.batches.encode import make_encoder
from clinprompt.errors import DataError, SettingError
from clinprompt.jobs.comparison.grid import chosen_targets
from clinprompt.jobs.planning.memory import Memory, numbers_to_train, weight_bytes
from clinprompt.jobs.planning.phases import num_cells, phases
from clinprompt.jobs.planning.row_sizes import encoded_share, row_sizes
from clinprompt.jobs.planning.run_memory import RunMemory
from clinprompt.jobs.planning.speed import Speed, given_speed, measure_speed
from clinprompt.jobs.planning.work import Amount, Phase, RowSizes
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.counts import metaprompt_numbers
from clinprompt.methods.resolve import (
    on_backbone,
    resolve_all,
    suites_to_learn,
    variants_to_distill,
)
from clinprompt.runs.suite_data import cards_of, find_mirror
from clinprompt.settings.defaults import DEFAULT_BACKBONE
from clinprompt.settings.groups import join_method
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard, TaskType
from clinprompt.tasks.load import TaskData, check_files, load_task, remedy
from clinprompt.tasks.suite import Suite, find_suite

Status = Literal["there", "missing", "gated"]
Role = Literal["source", "target", "overlap"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """Whether the data of a task is there; if not, ``remedy`` says how to get it.

    The role ``overlap`` is a target that is not compared: it is read because source records that
    share text with it are removed.
    """

    name: str
    role: Role
    type: TaskType
    status: Status
    remedy: str


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs of a run, each with a whole backbone: their number, and the bytes of one (None: any)."""

    count: int = 1
    num_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a run on one backbone: memory, trainable parameters by method, work by phase, speed.

    ``fitting_tokens`` is the largest ``micro_batch_tokens`` with which the run fits on a GPU, at
    most that of the settings; 0: nothing fits, None: the memory of a GPU is not known.
    """

    weight_bytes: int
    prompt_memory: Memory | None
    lora_memory: Memory | None
    numbers: dict[str, int]
    num_cells: int
    phases: tuple[Phase, ...]
    speed: Speed
    num_gpus: int
    fitting_tokens: int | None

    @property
    def seconds(self) -> float:
        """Return the duration of all phases."""
        return sum(map(self.seconds_of, self.phases))

    def seconds_of(self, phase: Phase) -> float:
        """Return the duration of a phase; processes on all GPUs share what can be shared."""
        return phase.seconds(self.speed) / (self.num_gpus if phase.is_shared else 1)


@dataclass(frozen=True, slots=True)
class BackbonePlan:
    """One backbone; if it cannot be loaded, ``remedy`` says why and how to get it.

    ``outline`` and ``costs`` are None if the sizes of the backbone are not known. ``tokenizer`` is
    the backbone whose tokens were counted in rows that are here; "": none, so that all rows count
    at the limits of the settings.
    """

    name: str
    is_there: bool
    remedy: str
    outline: ModelSizes | None
    costs: Costs | None
    tokenizer: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a config needs and costs.

    ``rate`` is the given speed in floating-point operations per second; None: the speed of this
    machine was measured. ``measured`` are the tasks with real lengths.
    """

    name: str
    suite: str
    length: int
    rank: int
    weights: str
    rate: float | None
    measured: tuple[str, ...]
    backbones: tuple[BackbonePlan, ...]
    tasks: tuple[TaskPlan, ...]
    missing: tuple[str, ...]
    gpus: Gpus

    @property
    def num_tasks(self) -> int:
        """Return the number of sources and targets that the run learns from or compares on."""
        return sum(task.role != "overlap" for task in self.tasks)


def dry_run(
    config: RunConfig,
    mirror: Path | None,
    *,
    rate: float | None = None,
    start_seconds: float = 0.0,
    gpus: Gpus | None = None,
) -> Plan:
    """Return what a run needs, what is missing, and what it costs.

    ``rate`` is the speed of one GPU (or machine) in floating-point operations per second; None
    measures this machine (see ``measure_speed``). ``start_seconds`` is the time that starting the
    program takes. Without ``gpus``, one is used, of any memory. Rows are counted in tokens of the
    default backbone where the tokenizer of the run's backbone is not here.

    Raises:
        SettingError: the suite or a task is unknown, or the backbone does not have a layer of
            ``baselines.lora_modules``.
        DataError: a card is damaged.
    """
    config = check_methods(config)
    settings = resolve_all(config)
    suite = find_suite(config.suite)
    place = find_mirror(mirror)
    first = on_backbone(settings, config.backbones[0])
    shape = first[""].prompt
    tasks = tuple(_plan_task(card, role, place) for card, role in _roles(first, suite))
    here = {one.name for one in tasks if one.role != "overlap" and one.status == "there"}
    known = [card for card, _ in _roles(first, suite) if card.name in here]
    data = {card.name: _timed(partial(load_task, card, place)) for card in known}
    given = gpus or Gpus()
    shared = _Shared(suite, data, rate, given)
    return Plan(
        name=config.name,
        suite=suite.name,
        length=shape.length,
        rank=shape.rank,
        weights=_weights(config),
        rate=rate,
        measured=tuple(data),
        backbones=tuple(
            _plan_backbone(
                name, on_backbone(settings, name), shared, 0 if number else start_seconds
            )
            for number, name in enumerate(config.backbones)
        ),
        tasks=tasks,
        missing=suite.missing,
        gpus=given,
    )


def _roles(configs: Mapping[str, RunConfig], suite: Suite) -> Iterator[tuple[TaskCard, Role]]:
    """Yield the tasks whose data the run reads, with their role.

    A run that distills also reads sources, and the targets that it does not compare, because
    source records that share text with any target are removed.
    """
    learned = [find_suite(name) for name in suites_to_learn(configs)]
    sources = cards_of([task for one in learned for task in one.sources])
    targets = cards_of(suite.targets)
    chosen = chosen_targets(configs[""].compare, tuple(targets))
    unseen = cards_of([task for one in learned for task in one.targets])
    yield from ((card, "source") for card in sources.values())
    yield from ((targets[name], "target") for name in chosen)
    yield from ((card, "overlap") for name, card in unseen.items() if name not in chosen)


def _timed(load: Callable[[], Value]) -> tuple[Value, float]:
    """Return what is computed, and the seconds that it took."""
    started = perf_counter()
    return load(), perf_counter() - started


def _weights(config: RunConfig) -> str:
    """Return the type of the backbone's weights, in words."""
    return config.dtype if config.quantize == "none" else f"{config.dtype}, {config.quantize}"


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all backbones of a plan share: tasks with their data, speed and GPUs.

    ``measured`` changes: it keeps the sizes of rows by tokenizer and settings, because backbones
    without a tokenizer here share the default one, and encoding takes minutes.
    """

    suite: Suite
    data: Mapping[str, tuple[TaskData, float]]
    rate: float | None
    gpus: Gpus
    measured: dict[str, tuple[dict[str, RowSizes], float]] = field(default_factory=dict)

    def sizes(self, tokenizer: str, config: RunConfig) -> tuple[dict[str, RowSizes], float]:
        """Return what ``_measured`` does, which is computed once for equal settings."""
        key = config.model_copy(update={"backbone": tokenizer}).model_dump_json()
        if key not in self.measured:
            self.measured[key] = _measured(tokenizer, config, self.data)
        return self.measured[key]


def _plan_backbone(
    name: str, configs: Mapping[str, RunConfig], shared: _Shared, start_seconds: float
) -> BackbonePlan:
    seen, plain = inspect_backbone(name), configs[""]
    if seen.sizes is None:
        return BackbonePlan(name, not seen.problem, seen.problem, None, None)
    tokenizer = _tokenizer_for(name, seen.problem) if shared.data else ""
    sizes, seconds = shared.sizes(tokenizer, plain) if tokenizer else ({}, 0.0)
    num_bytes = weight_bytes(plain, seen.sizes)
    speed = (
        measure_speed(seen.sizes, plain.dtype)
        if shared.rate is None
        else given_speed(shared.rate, seen.sizes, num_bytes)
    )
    costs = _costs(configs, seen.sizes, shared, sizes, speed)
    if sizes:
        loading = Phase("start and data", 0, 0, 0, Amount(seconds=start_seconds + seconds))
        costs = replace(costs, phases=(loading, *costs.phases))
    return BackbonePlan(name, not seen.problem, seen.problem, seen.sizes, costs, tokenizer)


def _tokenizer_for(name: str, problem: str) -> str:
    """Return the backbone that rows are encoded for: its own or the default one; "" if neither."""
    if not problem:
        return name
    return "" if inspect_backbone(DEFAULT_BACKBONE).problem else DEFAULT_BACKBONE


def _measured(
    name: str, config: RunConfig, data: Mapping[str, tuple[TaskData, float]]
) -> tuple[dict[str, RowSizes], float]:
    """Return the sizes of tasks, and the seconds that loading and encoding them takes."""
    encoder, sizes, total = make_encoder(load_tokenizer(name), config.data), {}, 0.0
    targets = cards_of(find_suite(config.suite).targets)
    num_own = sum(num_cells(method, config, 1) for method in config.compare.methods)
    for task, (loaded, loading) in data.items():
        found, seconds = _timed(partial(row_sizes, loaded, encoder, config))
        if found:
            sizes[task] = found
            share = encoded_share(loaded, config, num_own if task in targets else 0)
            total += loading + seconds * share
    return sizes, total


def _costs(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    shared: _Shared,
    sizes: Mapping[str, RowSizes],
    speed: Speed,
) -> Costs:
    config = configs[""]
    methods = config.compare.methods
    targets = chosen_targets(config.compare, tuple(cards_of(shared.suite.targets)))
    sources = {name: tuple(cards_of(find_suite(name).sources)) for name in suites_to_learn(configs)}
    counts = {name: len(sources[configs[name].suite]) for name in variants_to_distill(configs)}
    distilled = {
        join_method("distillation", name): metaprompt_numbers(configs[name], outline, count)
        for name, count in counts.items()
    }
    memory = RunMemory(configs, outline, {name: len(tasks) for name, tasks in sources.items()})
    return Costs(
        weight_bytes=weight_bytes(config, outline),
        prompt_memory=memory.prompts(),
        lora_memory=memory.adapters(),
        numbers=distilled | {name: numbers_to_train(name, configs, outline) for name in methods},
        num_cells=sum(num_cells(name, config, len(targets)) for name in methods),
        phases=phases(configs, outline, sources, targets, sizes),
        speed=speed,
        num_gpus=shared.gpus.count,
        fitting_tokens=memory.fitting_tokens(shared.gpus.num_bytes),
    )


def _plan_task(card: TaskCard, role: Role, place: Path | None) -> TaskPlan:
    status: Status = "there"
    try:
        check_files(card, place)
    except (DataError, SettingError):
        status = "gated" if card.source.access else "missing"
    return TaskPlan(card.name, role, card.type, status, "" if status == "there" else remedy(card))
