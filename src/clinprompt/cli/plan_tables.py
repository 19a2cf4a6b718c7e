"""Print what a run needs and costs, as tables that fit a screen of 80 columns."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

from clinprompt.cli.screen import print_json, print_table, say

if TYPE_CHECKING:
    from clinprompt.jobs.planning.plan import BackbonePlan, Costs, Plan, TaskPlan
    from clinprompt.jobs.planning.work import Phase


def show_plan(plan: "Plan", *, as_json: bool) -> None:
    """Print a plan, and how to get what is missing."""
    if as_json:
        print_json(asdict(plan))
        return
    say(
        f"{plan.name}: suite {plan.suite}, prompts of {plan.length} positions, rank {plan.rank}, "
        f"{plan.weights}. No weights are loaded, nothing is trained.\n",
        wraps=True,
    )
    known = [(one, one.costs) for one in plan.backbones if one.costs]
    _show_backbones(plan.backbones)
    _show_fit(known, plan)
    if known:
        _show_numbers(known)
        _show_work(known, plan)
    _show_tasks(plan.tasks)
    _show_remedies(plan)


def _show_backbones(backbones: Sequence["BackbonePlan"]) -> None:
    rows = [
        [one.name, "yes" if one.is_there else "no", *(_sizes(one) if one.costs else ("?",) * 6)]
        for one in backbones
    ]
    header = ["backbone", "here", "L", "H", "params", "weights", "prompts", "LoRA"]
    title = "Backbones (L layers of size H); estimated GB: weights, to train prompts, LoRA"
    print_table(header, rows, title=title, num_texts=0)


def _sizes(one: "BackbonePlan") -> tuple[str, ...]:
    outline, costs = one.outline, one.costs
    assert outline
    assert costs
    return (
        str(outline.num_layers),
        f"{outline.hidden_size:,}",
        f"{outline.num_parameters / 1e9:.2f} B",
        _gigabytes(costs.weight_bytes),
        _gigabytes(costs.prompt_memory.total) if costs.prompt_memory else "",
        _gigabytes(costs.lora_memory.total) if costs.lora_memory else "",
    )


def _show_fit(known: Sequence[tuple["BackbonePlan", "Costs"]], plan: "Plan") -> None:
    """Say which backbones do not fit on a GPU, and what would fit."""
    if plan.gpus.num_bytes is None:
        return
    gpu = f"a GPU of {_gigabytes(plan.gpus.num_bytes)} GB"
    for one, costs in known:
        needed = [m.total for m in (costs.prompt_memory, costs.lora_memory) if m]
        if max(needed, default=costs.weight_bytes) <= plan.gpus.num_bytes:
            say(f"{one.name} fits on {gpu}.", wraps=True)
        elif costs.fitting_tokens:
            say(
                f"{one.name} does not fit on {gpu}. With micro_batch_tokens = "
                f"{costs.fitting_tokens} in [teacher], [distill] and [adapt] it does, with the "
                "same results.",
                wraps=True,
            )
        else:
            say(f"{one.name} does not fit on {gpu}, not even in small micro-batches.", wraps=True)
    say("")


def _show_numbers(known: Sequence[tuple["BackbonePlan", "Costs"]]) -> None:
    methods = dict.fromkeys(chain.from_iterable(costs.numbers for _, costs in known))
    rows = [
        [method, *(_share(costs.numbers[method], one) for one, costs in known)]
        for method in methods
        if any(costs.numbers[method] for _, costs in known)
    ]
    header = ["method", *(one.name.rpartition("/")[2] for one, _ in known)]
    title = "Trainable parameters, and their share of the backbone's parameters"
    print_table(header, rows, title=title, num_texts=0)


def _share(numbers: int, one: "BackbonePlan") -> str:
    assert one.outline
    return f"{numbers:,} ({numbers / one.outline.num_parameters:.4%})"


def _show_work(known: Sequence[tuple["BackbonePlan", "Costs"]], plan: "Plan") -> None:
    rows = list(chain.from_iterable(_work(one, costs) for one, costs in known))
    header = ["phase (cells)", "steps", "M tokens", "PFLOP", "time"]
    print_table(header, rows, title="Estimated work", num_texts=0)
    how = "as given, fully used" if plan.rate else "measured with one layer of each backbone"
    sharing = (
        f"{plan.gpus.count} GPUs share teachers and cells; a metaprompt is distilled on one. "
        if plan.gpus.count > 1
        else ""
    )
    speeds = "; ".join(_speed(one, costs) for one, costs in known)
    say(
        f"{sharing}Times are for these speeds, {how}: {speeds}. {_lengths(known, plan)} "
        "Loading the weights is not counted.\n",
        wraps=True,
    )


def _lengths(known: Sequence[tuple["BackbonePlan", "Costs"]], plan: "Plan") -> str:
    """Say which lengths of rows were used, and in tokens of which backbone."""
    others = {
        one.tokenizer: [each.name for each, _ in known if each.tokenizer == one.tokenizer]
        for one, _ in known
        if one.tokenizer not in ("", one.name)
    }
    counted = "".join(
        f" The tokenizers of {', '.join(names)} are not here, so tokens of {tokenizer} are counted."
        for tokenizer, names in others.items()
    )
    num_real = len(plan.measured) if any(one.tokenizer for one, _ in known) else 0
    return (
        f"Lengths and numbers of rows are the real ones for {num_real} of {plan.num_tasks} tasks, "
        f"those whose data is here; for the others they are the limits of the settings.{counted} "
        "Decoding is counted token by token. Answers count as long as the correct ones; a model "
        "that has not learned when to stop writes longer ones, up to data.max_target_tokens."
    )


def _speed(one: "BackbonePlan", costs: "Costs") -> str:
    speed = costs.speed
    return (
        f"{one.name} {speed.reading / 1e12:,.3g} TFLOP/s reading, {speed.training / 1e12:,.3g} "
        f"training, {1000 * speed.step_seconds:,.3g} ms a decoding step and "
        f"{1000 * speed.row_seconds:,.3g} ms for each row in it"
    )


def _work(one: "BackbonePlan", costs: "Costs") -> Iterator[list[str]]:
    yield [f"{one.name} ({costs.num_cells})", "", "", "", ""]
    for phase in costs.phases:
        yield _phase(phase, costs.seconds_of(phase))
    operations = sum(phase.operations for phase in costs.phases)
    yield ["  all", "", "", f"{operations / 1e15:,.1f}", _duration(costs.seconds)]


def _phase(phase: "Phase", seconds: float) -> list[str]:
    return [
        f"  {phase.name}",
        f"{phase.steps:,}" if phase.steps else "",
        f"{phase.tokens / 1e6:,.1f}",
        f"{phase.operations / 1e15:,.1f}",
        _duration(seconds),
    ]


def _show_tasks(tasks: Sequence["TaskPlan"]) -> None:
    rows = [[task.name, task.role, task.type, task.status] for task in tasks]
    print_table(["task", "role", "type", "data"], rows, title="Data")


def _show_remedies(plan: "Plan") -> None:
    missing = [one for one in plan.backbones if not one.is_there]
    open_tasks = [task.name for task in plan.tasks if task.status == "missing"]
    gated = [task for task in plan.tasks if task.status == "gated"]
    if not (missing or open_tasks or gated):
        say("Everything that the run needs is here.", wraps=True)
    for one in missing:
        say(f"- {one.remedy}", wraps=True)
    if open_tasks:
        say(f"- open data: clinprompt tasks fetch {' '.join(open_tasks)}", wraps=True)
    for remedy, names in _by_remedy(gated).items():
        say(f"- {', '.join(names)}: {remedy}", wraps=True)
    for gap in plan.missing:
        say(f"- suite {plan.suite}: {gap}", wraps=True)


def _by_remedy(tasks: Iterable["TaskPlan"]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in tasks:
        found.setdefault(task.remedy, []).append(task.name)
    return found


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"
