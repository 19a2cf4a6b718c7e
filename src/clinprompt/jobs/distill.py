"""Train a teacher for each source task, then one metaprompt that they teach.

Axes: K source tasks, P prompt positions, H hidden size, R rank.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, TargetStates, make_bank, target_states
from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.batches.encode import Batch, Row
from clinprompt.prompts.artifact import Artifact, Manifest, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.segments import Segments
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.runs.run import Run
from clinprompt.runs.suite_data import encode_all, examples_of
from clinprompt.settings.groups import DistillSettings
from clinprompt.tasks.load import TaskData
from clinprompt.training.fit import Exercise, Objective, Terms, tune
from clinprompt.training.fit_together import Training, tune_together
from clinprompt.training.losses import (
    Taught,
    hidden_loss,
    logits_loss,
    summarize,
    task_loss,
    token_weights,
)
from clinprompt.training.teacher_cache import CachePlan, TeacherCache, remove_cache


def distill(run: Run, sources: Sequence[TaskData], *, teaching: Run | None = None) -> Artifact:
    """Return the metaprompt of the source tasks, from the run's store if it is there already.

    ``teaching`` is another run of the same teachers, to train them only once.
    """
    name = "metaprompt"
    if name in run.finished:
        return run.store.metaprompt(run.finished[name])
    teachers = teach(teaching or run, sources)
    rows = _numbered([run.training_rows(data) for data in sources])
    vectors = [teacher.tensors["vectors"] for teacher in teachers]
    types = [data.card.type for data in sources]
    module = _student(run, vectors, types).to(run.backbone.device)
    settings = run.config.distill
    with torch.no_grad():
        stacked = torch.stack(vectors).to(run.backbone.device)
        bank = make_bank(run.backbone.model, stacked, run.config.prompt.placement)
    place = run.place("distill")
    cache = _open_cache(run, rows, teachers)
    tune(
        run.backbone,
        run.tuner(module),
        rows,
        exercise=Exercise(
            settings,
            {"shared": settings.shared_rate, "factors": settings.factor_rate},
            run.config.seed,
            distillation_objective(run.backbone, bank, settings, cache),
            settings.sampling_temperature,
            settings.validate_every,
        ),
        place=place,
        validation=[row for k, data in enumerate(sources) for row in _validation(run, data, k)],
    )
    artifact = make_artifact(_metaprompt_manifest(run, sources), dict(module.named_parameters()))
    run.store.save(artifact)
    if cache is not None:
        cache.delete()  # before the rest: it gives answers away
    run.finish({name: artifact})
    run.forget(place.phase)
    return artifact


def teach(run: Run, sources: Sequence[TaskData]) -> list[Artifact]:
    """Return the teacher prompt of each source task, from the run's store if it is there already.

    ``teacher.together`` of them are trained side by side: each ends as it would alone, to rounding.
    """
    missing = [data for data in sources if _teacher_name(data) not in run.finished]
    size = run.config.teacher.together
    for first in range(0, len(missing), size):
        _train_teachers(run, missing[first : first + size])
    return [run.store.load(_teacher_name(data)) for data in sources]


def _train_teachers(run: Run, sources: Sequence[TaskData]) -> None:
    """Train and save the teachers of some source tasks, in one step each time."""
    start = start_vectors(run.backbone, run.config.prompt, seed=run.config.seed)
    modules = [SoftPrompts(start[None]).to(run.backbone.device) for _ in sources]
    names = [_teacher_name(data) for data in sources]
    place = run.place(names[0]) if len(names) == 1 else run.place_of(names)
    lessons = [_lesson(run, *pair) for pair in zip(sources, modules, strict=True)]
    tune_together(run.backbone, lessons, place=place)
    made = {}
    for data, name, module in zip(sources, names, modules, strict=True):
        manifest = run.manifest("prompt", name, "teacher", [data.card])
        made[name] = make_artifact(manifest, {"vectors": module.vectors[0]})
        run.store.save(made[name])
    run.finish(made)
    for name in names:
        run.forget(name)


def _lesson(run: Run, data: TaskData, module: SoftPrompts) -> Training:
    settings = run.config.teacher
    exercise = Exercise(
        settings,
        {"prompt": settings.learning_rate},
        run.config.seed,
        validate_every=settings.validate_every,
    )
    rows, validation = run.training_rows(data), _validation(run, data, 0)
    return Training(run.tuner(module), rows, exercise, _teacher_name(data), validation)


def _teacher_name(data: TaskData) -> str:
    return f"teachers/{data.card.name}"


def distillation_objective(
    backbone: Backbone,
    teachers: Bank,
    settings: DistillSettings,
    cache: TeacherCache | None = None,
) -> Objective:
    """Return task loss + λ_logits · τ² · KL(teacher ‖ student) + λ_hidden · hidden-state error.

    ``teachers`` holds the K teacher prompts; what they say of a row is asked once, where there is a
    ``cache``. The terms of a step are summed into its ``terms``.
    """

    def objective(num_rows: int, terms: Terms) -> Loss:
        def loss(batch: Batch, student: TargetStates) -> Tensor:
            taught = _taught(backbone, teachers, batch, settings, cache)
            weights = token_weights(student.rows, num_rows=num_rows)
            parts = {
                "task": task_loss(student.logits, student.labels, weights),
                "logits": logits_loss(
                    student.logits, taught, weights, temperature=settings.temperature
                ),
                "hidden": hidden_loss(student.hidden, taught.hidden, weights),
            }
            for name, value in parts.items():
                terms[name] = terms.get(name, 0.0) + float(value.detach())
            return (
                parts["task"]
                + settings.logits_weight * parts["logits"]
                + settings.hidden_weight * parts["hidden"]
            )

        return loss

    return objective


def _taught(
    backbone: Backbone,
    teachers: Bank,
    batch: Batch,
    settings: DistillSettings,
    cache: TeacherCache | None,
) -> Taught:
    def ask(asked: Batch) -> Taught:
        with torch.no_grad():
            states = target_states(backbone.model, asked, teachers)
        return summarize(
            states.logits, states.hidden, top_k=settings.top_k, temperature=settings.temperature
        )

    if cache is None:
        return ask(batch)
    numbers = batch.numbers.tolist()
    if new := [place for place, number in enumerate(numbers) if not cache.is_met(number)]:
        cache.keep([numbers[place] for place in new], ask(batch.select(new)))
    return cache.recall(numbers, backbone.device)


def _open_cache(
    run: Run, rows: Sequence[Sequence[Row]], teachers: Sequence[Artifact]
) -> TeacherCache | None:
    """Open what teachers say of the run's rows, and tell its size first."""
    settings, path = run.config.distill, run.folder / "checkpoints" / "teachers.cache"
    if not settings.cache_teachers:
        remove_cache(path)  # the run may have begun with one: it gives answers away
        return None
    num_tokens = run.backbone.vocabulary_size
    plan = CachePlan(
        lengths=tuple(len(row.target_ids) for own in rows for row in own),
        top_k=min(settings.top_k or num_tokens, num_tokens),
        hidden_size=run.backbone.hidden_size,
        teachers=" ".join(teacher.manifest.content_hash for teacher in teachers),
        temperature=settings.temperature,
    )
    run.reporter.say(f"distill: keeps what teachers say, up to {plan.num_bytes / 1e6:,.0f} MB")
    return TeacherCache(path, plan)


def _student(run: Run, teachers: Sequence[Tensor], types: Sequence[str]) -> DecomposedPrompts:
    settings = run.config.prompt
    segments = Segments(settings.length, settings.segment)
    if run.config.distill.start == "teachers":
        shared = segments.mean(teachers, types)
    else:
        own = settings.model_copy(update={"start": run.config.distill.start})
        shared = segments.repeat_prompt(start_vectors(run.backbone, own, seed=run.config.seed))
    u, v = neutral_factors(
        len(teachers),
        length=settings.length,
        hidden_size=shared.shape[1],
        rank=settings.rank,
        generator=torch.Generator().manual_seed(run.config.seed),
    )
    return DecomposedPrompts(shared, u, v, route=segments.route(types))


def _numbered(rows: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Return the rows of all tasks, each with its task's number and one of its own."""
    numbers = count()
    return [
        [replace(row, task=task, number=next(numbers)) for row in own]
        for task, own in enumerate(rows)
    ]


def _validation(run: Run, data: TaskData, task: int) -> tuple[Row, ...]:
    limit, seed = run.config.data.validation_rows, run.config.seed
    examples = examples_of(data, "validation", limit=limit, seed=seed)
    return encode_all(run.encoder(), data.card, examples, task)


def _metaprompt_manifest(run: Run, sources: Sequence[TaskData]) -> Manifest:
    return run.manifest("metaprompt", "metaprompt", "distilled", [data.card for data in sources])
