"""Plan a run: what it needs, what is missing and what it costs. Loads no weights."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch

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
from clinprompt.jobs.planning.row_sizes import row_sizes
from clinprompt.jobs.planning.work import Phase, RowSizes, num_cells, phases
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
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import check_files, load_task, remedy
from clinprompt.tasks.suite import Suite, find_suite

Status = Literal["there", "missing", "gated"]
Role = Literal["source", "target", "overlap"]
_SIDE = 1024  # of the matrices that measure the rate
_MEASURED_SECONDS = 0.3
_OPERATIONS_PER_BYTE = 200  # of a GPU, where a rate is given and memory is not measured


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
    """Costs of a run on one backbone: memory, trained numbers by method, work by phase."""

    weight_bytes: int
    prompt_memory: Memory | None
    lora_memory: Memory | None
    numbers: dict[str, int]
    num_cells: int
    phases: tuple[Phase, ...]


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

    ``rate`` is in floating-point operations per second, ``memory_rate`` in bytes per second: a
    decoding step reads all weights once. ``measured`` are the targets with real lengths.
    """

    name: str
    suite: str
    length: int
    rank: int
    dtype: str
    rate: float
    rate_is_measured: bool
    memory_rate: float
    measured: tuple[str, ...]
    backbones: tuple[BackbonePlan, ...]
    tasks: tuple[TaskPlan, ...]
    missing: tuple[str, ...]


def dry_run(config: RunConfig, mirror: Path | None, *, rate: float | None = None) -> Plan:
    """Return what a run needs, what is missing, and what it costs.

    ``rate`` is the speed of the machine in floating-point operations per second; None measures a
    matrix product on this machine.

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
    here = [one.name for one in tasks if one.role == "target" and one.status == "there"]
    speed = measure_rate(config.dtype) if rate is None else rate
    return Plan(
        name=config.name,
        suite=suite.name,
        length=shape.length,
        rank=shape.rank,
        dtype=config.dtype,
        rate=speed,
        rate_is_measured=rate is None,
        memory_rate=measure_memory_rate() if rate is None else speed / _OPERATIONS_PER_BYTE,
        measured=tuple(here),
        backbones=tuple(
            _plan_backbone(name, on_backbone(settings, name), suite, (here, place))
            for name in config.backbones
        ),
        tasks=tasks,
        missing=suite.missing,
    )


def measure_rate(dtype: Literal["float32", "bfloat16"]) -> float:
    """Measure the floating-point operations per second of a matrix product, on a GPU if any."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    numbers = torch.float32 if dtype == "float32" else torch.bfloat16
    left = torch.ones(_SIDE, _SIDE, dtype=numbers, device=device)
    float((left @ left)[0, 0])  # warm up
    count, started = 0, perf_counter()
    while (passed := perf_counter() - started) < _MEASURED_SECONDS:
        float((left @ left)[0, 0])  # reading a number waits for the result
        count += 1
    return count * 2 * _SIDE**3 / passed


def measure_memory_rate() -> float:
    """Measure the bytes per second of a product of a matrix and a vector, on a GPU if any."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 4 * _SIDE  # 64 MiB, more than fits into most caches
    left, right = torch.ones(side, side, device=device), torch.ones(side, device=device)
    float((left @ right)[0])  # warm up
    count, started = 0, perf_counter()
    while (passed := perf_counter() - started) < _MEASURED_SECONDS:
        float((left @ right)[0])
        count += 1
    return count * 4 * side**2 / passed


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


def _plan_backbone(
    name: str, configs: Mapping[str, RunConfig], suite: Suite, data: tuple[list[str], Path | None]
) -> BackbonePlan:
    seen = inspect_backbone(name)
    if seen.sizes is None:
        return BackbonePlan(name, not seen.problem, seen.problem, None, None)
    sizes = {} if seen.problem else _sizes_of(name, configs[""], suite, *data)
    costs = _costs(configs, seen.sizes, suite, sizes)
    return BackbonePlan(name, not seen.problem, seen.problem, seen.sizes, costs)


def _sizes_of(
    name: str, config: RunConfig, suite: Suite, here: list[str], place: Path | None
) -> dict[str, RowSizes]:
    """Return the sizes of the targets whose data is on the disk."""
    encoder, found = make_encoder(load_tokenizer(name), config.data), {}
    cards = cards_of(suite.targets)
    for task in here:
        loaded = load_task(cards[task], place)
        data, test = config.data, loaded.splits["test"]
        is_closed = bool(test and kind_of(loaded.card).choices(loaded.card, test[0]))
        most = (data.test_label_rows if is_closed else 0) or data.test_rows
        if not test:
            continue
        found[task] = row_sizes(
            loaded.card,
            test,
            encoder,
            test_rows=most,
            length=config.prompt.length,
        )
    return found


def _costs(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    suite: Suite,
    sizes: Mapping[str, RowSizes],
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
