"""Plan a run: what it needs, what is missing and what it costs. Loads no weights."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar

from clinprompt.backbone.load import load_tokenizer
from clinprompt.backbone.model_sizes import ModelSizes, inspect_backbone
from clinprompt.batches.encode import make_encoder
from clinprompt.errors import DataError, SettingError
from clinprompt.jobs.comparison.grid import chosen_targets
from clinprompt.jobs.planning.memory import (
    Memory,
    adapter_memory,
    prompt_memory,
    trained_numbers,
    weight_bytes,
)
from clinprompt.jobs.planning.phases import num_cells, phases
from clinprompt.jobs.planning.row_sizes import encoded_share, row_sizes
from clinprompt.jobs.planning.speed import Speed, given_speed, measure_speed
from clinprompt.jobs.planning.work import Amount, Phase, RowSizes
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.counts import metaprompt_numbers
from clinprompt.methods.resolve import (
    on_backbone,
    resolve_all,
    suites_to_learn,
    variants_to_distill,
    variants_with,
)
from clinprompt.methods.table import method_of
from clinprompt.runs.suite_data import cards_of, find_mirror
from clinprompt.settings.groups import join_method, split_method
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
class Costs:
    """Costs of a run on one backbone: memory, trained numbers by method, work by phase, speed."""

    weight_bytes: int
    prompt_memory: Memory | None
    lora_memory: Memory | None
    numbers: dict[str, int]
    num_cells: int
    phases: tuple[Phase, ...]
    speed: Speed

    @property
    def seconds(self) -> float:
        """Return the duration of all phases."""
        return sum(phase.seconds(self.speed) for phase in self.phases)


@dataclass(frozen=True, slots=True)
class BackbonePlan:
    """One backbone; if it cannot be loaded, ``remedy`` says why and how to get it.

    ``outline`` and ``costs`` are None if the sizes of the backbone are not known.
    """

    name: str
    is_there: bool
    remedy: str
    outline: ModelSizes | None
    costs: Costs | None


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
    dtype: str
    rate: float | None
    measured: tuple[str, ...]
    backbones: tuple[BackbonePlan, ...]
    tasks: tuple[TaskPlan, ...]
    missing: tuple[str, ...]

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
) -> Plan:
    """Return what a run needs, what is missing, and what it costs.

    ``rate`` is the speed of the machine in floating-point operations per second; None measures
    this machine (see ``measure_speed``). ``start_seconds`` is the time that starting the program
    takes.

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
    return Plan(
        name=config.name,
        suite=suite.name,
        length=shape.length,
        rank=shape.rank,
        dtype=config.dtype,
        rate=rate,
        measured=tuple(data),
        backbones=tuple(
            _plan_backbone(
                name, on_backbone(settings, name), suite, data, rate, 0 if number else start_seconds
            )
            for number, name in enumerate(config.backbones)
        ),
        tasks=tasks,
        missing=suite.missing,
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


def _plan_backbone(
    name: str,
    configs: Mapping[str, RunConfig],
    suite: Suite,
    data: Mapping[str, tuple[TaskData, float]],
    rate: float | None,
    start_seconds: float,
) -> BackbonePlan:
    seen, plain = inspect_backbone(name), configs[""]
    if seen.sizes is None:
        return BackbonePlan(name, not seen.problem, seen.problem, None, None)
    sizes, seconds = ({}, 0.0) if seen.problem else _measured(name, plain, data)
    num_bytes = weight_bytes(plain, seen.sizes)
    speed = (
        measure_speed(seen.sizes, plain.dtype)
        if rate is None
        else given_speed(rate, seen.sizes, num_bytes)
    )
    costs = _costs(configs, seen.sizes, suite, sizes, speed)
    if sizes:
        loading = Phase("start and data", 0, 0, 0, Amount(seconds=start_seconds + seconds))
        costs = replace(costs, phases=(loading, *costs.phases))
    return BackbonePlan(name, not seen.problem, seen.problem, seen.sizes, costs)


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
    suite: Suite,
    sizes: Mapping[str, RowSizes],
    speed: Speed,
) -> Costs:
    config = configs[""]
    methods = config.compare.methods
    targets = chosen_targets(config.compare, tuple(cards_of(suite.targets)))
    sources = {name: tuple(cards_of(find_suite(name).sources)) for name in suites_to_learn(configs)}
    counts = {name: len(sources[configs[name].suite]) for name in variants_to_distill(configs)}
    distilled = {
        join_method("distillation", name): metaprompt_numbers(configs[name], outline, count)
        for name, count in counts.items()
    }
    trained = variants_with(config, lambda one: one.on_sources is not None and one.reads_prompt)
    learn = {*counts, *trained}
    adapters = [name for name in methods if method_of(name).trains == "adapters"]
    return Costs(
        weight_bytes=weight_bytes(config, outline),
        prompt_memory=_most(
            prompt_memory(own, outline, len(sources.get(own.suite, ())) if variant in learn else 0)
            for variant, own in _with_prompts(configs)
        ),
        lora_memory=_most(
            adapter_memory(
                configs[split_method(name)[1]],
                outline,
                trained_numbers(name, configs, outline),
                on_sources=method_of(name).on_sources is not None,
            )
            for name in adapters
        ),
        numbers=distilled | {name: trained_numbers(name, configs, outline) for name in methods},
        num_cells=sum(num_cells(name, config, len(targets)) for name in methods),
        phases=phases(configs, outline, sources, targets, sizes),
        speed=speed,
    )


def _with_prompts(configs: Mapping[str, RunConfig]) -> Iterator[tuple[str, RunConfig]]:
    """Yield the variants ("" for none) of methods that read a prompt, with their settings."""
    grid = configs[""].compare
    for variant in variants_with(configs[""], lambda method: method.reads_prompt):
        yield variant, configs[variant].model_copy(update={"compare": grid})


def _most(memories: Iterable[Memory]) -> Memory | None:
    """Return the largest: the parts of a run are computed one after another."""
    return max(memories, key=lambda memory: memory.total, default=None)


def _plan_task(card: TaskCard, role: Role, place: Path | None) -> TaskPlan:
    status: Status = "there"
    try:
        check_files(card, place)
    except (DataError, SettingError):
        status = "gated" if card.source.access else "missing"
    return TaskPlan(card.name, role, card.type, status, "" if status == "there" else remedy(card))
