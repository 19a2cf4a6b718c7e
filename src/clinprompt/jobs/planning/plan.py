"""Tell what a run needs and costs before it is started. No weight is loaded, no record read."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch

from clinprompt.backbone.model_sizes import ModelSizes, inspect_backbone
from clinprompt.errors import DataError, SettingError
from clinprompt.jobs.comparison.grid import chosen_targets
from clinprompt.jobs.planning.estimates import (
    Memory,
    Phase,
    lora_memory,
    metaprompt_numbers,
    num_cells,
    phases,
    prompt_memory,
    trained_numbers,
    weight_bytes,
)
from clinprompt.methods.metaprompts import shaped
from clinprompt.methods.table import TRAIN_PROMPTS
from clinprompt.runs.suite_data import cards_of, find_mirror, learned_suites
from clinprompt.settings.groups import NEED_METAPROMPT, join_method
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard, TaskType
from clinprompt.tasks.load import check_files, remedy
from clinprompt.tasks.suite import Suite, find_suite

Status = Literal["there", "missing", "gated"]
Role = Literal["source", "target", "overlap"]
_SIDE = 1024  # of the matrices that the rate is measured with
_MEASURED_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """Whether a task's data is there; ``remedy`` says how to come by it, if not.

    The role ``overlap`` is that of a target that is not compared: sources are cleaned of its text.
    """

    name: str
    role: Role
    type: TaskType
    status: Status
    remedy: str


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run takes on one backbone: bytes held, numbers trained by method, work by phase."""

    weight_bytes: int
    prompt_memory: Memory | None
    lora_memory: Memory | None
    numbers: dict[str, int]
    num_cells: int
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class BackbonePlan:
    """One backbone: ``remedy`` says why it cannot be loaded and how to come by it, if it can't.

    ``outline`` and ``costs`` are None where its sizes are not known.
    """

    name: str
    is_there: bool
    remedy: str
    outline: ModelSizes | None
    costs: Costs | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a config asks for. ``rate`` is in floating-point operations a second."""

    name: str
    suite: str
    length: int
    rank: int
    dtype: str
    rate: float
    rate_is_measured: bool
    backbones: tuple[BackbonePlan, ...]
    tasks: tuple[TaskPlan, ...]
    missing: tuple[str, ...]


def dry_run(config: RunConfig, mirror: Path | None, *, rate: float | None = None) -> Plan:
    """Return what a run needs, what of it is missing, and what it costs.

    ``rate`` is how many floating-point operations a second the machine for it does; None measures
    a matrix product on this one.

    Raises:
        SettingError: the suite or a task is unknown, or LoRA is to go into layers that are not
            there.
        DataError: a card is damaged.
    """
    suite = find_suite(config.suite)
    place = find_mirror(mirror)
    shape = _resolved(config, config.backbones[0]).prompt
    return Plan(
        name=config.name,
        suite=suite.name,
        length=shape.length,
        rank=shape.rank,
        dtype=config.dtype,
        rate=measure_rate(config.dtype) if rate is None else rate,
        rate_is_measured=rate is None,
        backbones=tuple(_plan_backbone(name, config, suite) for name in config.backbones),
        tasks=tuple(_plan_task(card, role, place) for card, role in _roles(config, suite)),
        missing=suite.missing,
    )


def measure_rate(dtype: Literal["float32", "bfloat16"]) -> float:
    """Return floating-point operations a second of a matrix product here, on the GPU if any."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    numbers = torch.float32 if dtype == "float32" else torch.bfloat16
    left = torch.ones(_SIDE, _SIDE, dtype=numbers, device=device)
    float((left @ left)[0, 0])  # to warm up
    count, started = 0, perf_counter()
    while (passed := perf_counter() - started) < _MEASURED_SECONDS:
        float((left @ left)[0, 0])  # reading a number waits for the product
        count += 1
    return count * 2 * _SIDE**3 / passed


def _roles(config: RunConfig, suite: Suite) -> Iterator[tuple[TaskCard, Role]]:
    """Yield the tasks whose data the run reads: sources only where it distills.

    It also reads targets that are not compared then, as sources are cleaned of their text.
    """
    learned = [find_suite(name) for name in learned_suites(config)]
    sources = cards_of([task for one in learned for task in one.sources])
    targets = cards_of(suite.targets)
    chosen = chosen_targets(config.compare, tuple(targets))
    unseen = cards_of([task for one in learned for task in one.targets])
    yield from ((card, "source") for card in sources.values())
    yield from ((targets[name], "target") for name in chosen)
    yield from ((card, "overlap") for name, card in unseen.items() if name not in chosen)


def _resolved(config: RunConfig, backbone: str) -> RunConfig:
    """Return the settings, also those of variants, in the shape of the metaprompts that are there.

    Raises:
        ArtifactError: a metaprompt is not there, or not for this backbone.
        SettingError: a setting asks for another shape.
    """
    variants = {
        name: {**changes, "prompt": shaped(config, backbone, name).prompt.model_dump()}
        for name, changes in config.variants.items()
    }
    plain = shaped(config, backbone)
    return plain.model_copy(update={"variants": variants})


def _plan_backbone(name: str, config: RunConfig, suite: Suite) -> BackbonePlan:
    seen = inspect_backbone(name)
    costs = None if seen.sizes is None else _costs(_resolved(config, name), seen.sizes, suite)
    return BackbonePlan(name, not seen.problem, seen.problem, seen.sizes, costs)


def _costs(config: RunConfig, outline: ModelSizes, suite: Suite) -> Costs:
    methods = config.compare.methods
    targets = chosen_targets(config.compare, tuple(cards_of(suite.targets)))
    sources = {name: tuple(cards_of(find_suite(name).sources)) for name in learned_suites(config)}
    counts = {name: len(sources[config.varied(name).suite]) for name in config.learning}
    with_prompts = _used(config, {*NEED_METAPROMPT, *TRAIN_PROMPTS})
    distilled = {
        join_method("distillation", name): metaprompt_numbers(config.varied(name), outline, count)
        for name, count in counts.items()
    }
    return Costs(
        weight_bytes=weight_bytes(config, outline),
        prompt_memory=_most(
            prompt_memory(own, outline, counts.get(variant, 0)) for variant, own in with_prompts
        ),
        lora_memory=_most(lora_memory(own, outline) for _, own in _used(config, {"lora"})),
        numbers=distilled | {name: trained_numbers(name, config, outline) for name in methods},
        num_cells=sum(num_cells(name, config, len(targets)) for name in methods),
        phases=phases(config, outline, sources, targets),
    )


def _used(config: RunConfig, methods: Collection[str]) -> Iterator[tuple[str, RunConfig]]:
    """Yield the variants ("" for none) of these methods in the grid, with their settings."""
    for variant in config.variants_of(methods):
        yield variant, config.varied(variant).model_copy(update={"compare": config.compare})


def _most(memories: Iterable[Memory]) -> Memory | None:
    """Return what takes most memory; the parts of a run follow one another."""
    return max(memories, key=lambda memory: memory.total, default=None)


def _plan_task(card: TaskCard, role: Role, place: Path | None) -> TaskPlan:
    status: Status = "there"
    try:
        check_files(card, place)
    except (DataError, SettingError):
        status = "gated" if card.source.access else "missing"
    return TaskPlan(card.name, role, card.type, status, "" if status == "there" else remedy(card))
