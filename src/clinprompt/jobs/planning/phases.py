"""List the parts of a run with their steps, tokens and operations.

Everything follows from the sizes of the backbone, of rows and the settings; nothing is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from operator import add
from statistics import fmean

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.jobs.calibrate import NUM_INPUTS
from clinprompt.jobs.fit_method import may_validate, num_held_out, steps_of
from clinprompt.jobs.planning.row_sizes import decoding_work
from clinprompt.jobs.planning.work import Amount, AnswerWork, Counter, Phase, RowSizes
from clinprompt.methods.resolve import variants_to_distill
from clinprompt.methods.same_training import same_metaprompt, same_on_sources, same_teachers
from clinprompt.methods.table import SHOWN_METHODS, method_of
from clinprompt.settings.groups import Shots, SourceFitSettings, join_method, split_method
from clinprompt.settings.run import RunConfig

Sizes = Mapping[str, RowSizes]


def phases(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sources: Mapping[str, Sequence[str]],
    targets: Sequence[str],
    sizes: Sizes | None = None,
) -> tuple[Phase, ...]:
    """Return the work of a run on one backbone.

    ``configs`` are the settings by variant, ``sources`` the source tasks by suite. ``sizes`` are
    those of the tasks whose rows were measured. Rows of other tasks count at the length limits,
    and all their answers are written token by token.

    Routing, the making of starts and the masks of constrained answers are not counted.
    """
    known = sizes or {}
    learned = _learned(configs, outline, sources, known)
    trained = _on_sources(configs, outline, sources, known)
    cells = (
        _cells(method, configs, outline, {task: known.get(task) for task in targets})
        for method in configs[""].compare.methods
    )
    return (*learned, *trained, *cells)


def _longest(config: RunConfig, task: str) -> RowSizes:
    """Return the sizes of rows at their limits, which are upper bounds."""
    data, answer = config.data, _limit(config, task)
    rows = max(data.test_rows, data.test_label_rows)
    further = config.prompt.length + answer
    steps, decoded = _decoding_of_equal_rows(rows, data.max_input_tokens, answer, further)
    test = AnswerWork(rows, data.max_input_tokens, 0, steps, decoded)
    counts = data.train_rows, data.validation_rows
    return RowSizes(data.max_input_tokens, answer, *counts, calibrated="nothing", test=test)


@cache
def _decoding_of_equal_rows(rows: int, inputs: int, answer: int, further: int) -> tuple[int, int]:
    """Return ``decoding_work`` of rows that are alike, as those of many tasks and methods are."""
    return decoding_work([(inputs, answer)] * rows, further)


def _learned(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sources: Mapping[str, Sequence[str]],
    known: Sizes,
) -> Iterator[Phase]:
    """Yield the work of teachers and metaprompts, once for all variants that share them."""
    earlier: list[tuple[RunConfig, Sequence[str]]] = []
    for variant in variants_to_distill(configs):
        own = configs[variant]
        tasks = sources[own.suite]
        have = {task for run, names in earlier if same_teachers(run, own) for task in names}
        if new := [task for task in tasks if task not in have]:
            rows = [known.get(task) or _longest(own, task) for task in new]
            yield _teachers(own, outline, rows, join_method("teachers", variant))
        if not any(same_metaprompt(run, own) for run, _ in earlier):
            rows = [known.get(task) or _longest(own, task) for task in tasks]
            yield _distillation(own, outline, rows, join_method("distillation", variant))
        earlier.append((own, tasks))


def _on_sources(
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sources: Mapping[str, Sequence[str]],
    known: Sizes,
) -> Iterator[Phase]:
    """Yield the work of methods on all source tasks, once for variants that share it."""
    earlier: list[tuple[str, RunConfig]] = []
    for name in configs[""].compare.methods:
        method, own = method_of(name), configs[split_method(name)[1]]
        if method.on_sources is None:
            continue
        before = [run for other, run in earlier if other == method.name]
        if not any(same_on_sources(run, own) for run in before):
            rows = [known.get(task) or _longest(own, task) for task in sources[own.suite]]
            yield _source_training(own, outline, rows, name)
        earlier.append((method.name, own))


def _source_training(
    config: RunConfig, outline: ModelSizes, tasks: Sequence[RowSizes], name: str
) -> Phase:
    """Return the work of a method on all source tasks; a prompt is read once for each task."""
    fit = config.distill
    count = Counter(config, outline, reads_prompt=method_of(name).reads_prompt)
    num_prompts = min(fit.rows, len(tasks)) if count.reads_prompt else 0
    work = count.trained(fit.rows, *_lengths(tasks), num_prompts).times(fit.steps)
    return _phase(f"{name} on sources", fit.steps, work + _validated(count, fit, tasks))


def _teachers(
    config: RunConfig, outline: ModelSizes, tasks: Sequence[RowSizes], name: str
) -> Phase:
    fit, count = config.teacher, Counter(config, outline)
    steps = len(tasks) * fit.steps
    work = count.trained(fit.rows, *_lengths(tasks), 1).times(steps)
    return _phase(name, steps, work + _validated(count, fit, tasks), is_shared=True)


def _distillation(
    config: RunConfig, outline: ModelSizes, tasks: Sequence[RowSizes], name: str
) -> Phase:
    fit, count = config.distill, Counter(config, outline)
    inputs, answers = _lengths(tasks)
    teacher_rows = fit.steps * fit.rows
    if fit.cache_teachers:
        most = sum(min(task.train_rows, config.data.train_rows) for task in tasks)
        teacher_rows = min(teacher_rows, most)
    student = count.trained(fit.rows, inputs, answers, min(fit.rows, len(tasks))).times(fit.steps)
    teachers = count.read(inputs, answers, predicted=answers).times(teacher_rows)
    return _phase(name, fit.steps, student + teachers + _validated(count, fit, tasks))


def _validated(count: Counter, fit: SourceFitSettings, tasks: Sequence[RowSizes]) -> Amount:
    """Return the work of validation on the rows of source tasks."""
    rows = [_validation_row(count, task).times(task.validation_rows) for task in tasks]
    return reduce(add, rows).times(_num_validations(fit.steps, fit.validate_every))


def _validation_row(count: Counter, task: RowSizes) -> Amount:
    return count.read(task.inputs, task.answers, predicted=task.answers)


def _num_validations(steps: int, every: int) -> int:
    """Return how often a fit is validated: every so many steps, and at the end."""
    return -(-steps // every) if every else 0


def _lengths(tasks: Sequence[RowSizes]) -> tuple[float, float]:
    """Return the mean lengths of inputs and answers over tasks."""
    return fmean(task.inputs for task in tasks), fmean(task.answers for task in tasks)


def num_cells(method: str, config: RunConfig, num_targets: int) -> int:
    """Return how many cells a method has on one backbone."""
    grid, plain = config.compare, method_of(method)
    if not plain.uses_shots:
        return num_targets
    return num_targets * len(_shots(method, config)) * len(grid.seeds)


def _shots(method: str, config: RunConfig) -> list[Shots]:
    """Return the shots of a method's cells; one that uses none has one cell a task, of 0 shots."""
    plain = method_of(method)
    if not plain.uses_shots:
        return [0]
    return [one for one in config.compare.shots if plain.allows_all_shots or one != "all"]


def _cells(
    name: str,
    configs: Mapping[str, RunConfig],
    outline: ModelSizes,
    sizes: Mapping[str, RowSizes | None],
) -> Phase:
    """Return the work of a method's cells."""
    method, own, plain = method_of(name), configs[split_method(name)[1]], configs[""]
    seeds = len(plain.compare.seeds) if method.uses_shots else 1
    work, steps = Amount(), 0
    is_trained = bool(method.count(own, outline))
    for shots in _shots(name, plain):
        fitted = own.at(shots)
        for task, known in sizes.items():
            rows = known or _longest(own, task)
            work += _cell(name, fitted, outline, rows, shots).times(seeds)
            steps += seeds * _steps(name, fitted, rows, shots) if is_trained else 0
    cells = num_cells(name, plain, len(sizes))
    return _phase(f"{name} ({cells})", steps, work, is_shared=True)


def _cell(
    name: str, config: RunConfig, outline: ModelSizes, rows: RowSizes, shots: Shots
) -> Amount:
    """Return the work of one cell: training, validation, calibration and answers."""
    method = method_of(name)
    is_shown = method.name in SHOWN_METHODS
    lengths = rows.inputs + rows.answers
    shown = _num_shots(config, rows, shots) * lengths if is_shown else 0
    count = Counter(config, outline, reads_prompt=method.reads_prompt, shown=shown)
    work = count.answered(rows.test)
    work += _calibration(count, config, rows, shots)
    if not method.count(config, outline):
        return work
    prompts, fit = int(method.reads_prompt), config.adapt
    steps = _steps(name, config, rows, shots)
    is_full = method.trains == "weights"
    step = count.trained(fit.rows, rows.inputs, rows.answers, prompts, weights=is_full)
    validated = _validation_row(count, rows).times(_validation_rows(config, rows, shots, steps))
    times = _num_validations(steps, fit.validate_every)
    return work + step.times(steps) + validated.times(times)


def _num_shots(config: RunConfig, rows: RowSizes, shots: Shots) -> int:
    limit = shots if isinstance(shots, int) else config.data.train_rows
    return min(rows.train_rows, limit)


def _steps(name: str, config: RunConfig, rows: RowSizes, shots: Shots) -> int:
    return steps_of(method_of(name), config.adapt, _num_shots(config, rows, shots))


def _calibration(count: Counter, config: RunConfig, rows: RowSizes, shots: Shots) -> Amount:
    """Return the work of a cell's calibration; see ``jobs.calibrate``.

    Labels of validation rows are scored once; lists are written with and without the correction.
    """
    settings, are_lists = config.data, rows.calibrated == "lists"
    is_stated = are_lists and settings.nothing_share is not None
    is_certain = settings.calibration == "on" or is_stated
    validation = rows.validation_rows if shots == "all" and not is_certain else 0
    is_off = settings.calibration == "off" or rows.calibrated == "nothing"
    if is_off or not (is_certain or validation):
        return Amount()
    answer = count.answered(rows.test).times(1 / rows.test.rows)
    one = count.read(rows.test.inputs, 1, predicted=1) if are_lists else answer
    inputs = one.times(min(NUM_INPUTS, rows.train_rows))
    return inputs + answer.times(2 * validation if are_lists else validation)


def _validation_rows(config: RunConfig, rows: RowSizes, shots: Shots, steps: int) -> int:
    """Return how many rows choose the best state of a fit; see ``jobs.fit_method``."""
    if shots == "all" and rows.validation_rows:
        return rows.validation_rows if may_validate(config.adapt, steps) else 0
    return num_held_out(config, _num_shots(config, rows, shots), steps)


def _phase(name: str, steps: int, work: Amount, *, is_shared: bool = False) -> Phase:
    return Phase(name, steps, round(work.tokens), work.read + work.trained, work, is_shared)


def _limit(config: RunConfig, task: str) -> int:
    return config.data.target_tokens.get(task, config.data.max_target_tokens)
