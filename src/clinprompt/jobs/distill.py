"""Train a teacher prompt for each source task, then distill all of them into one metaprompt.

Axes: K source tasks, P prompt positions, H hidden size, R rank.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.batches.encode import Row
from clinprompt.prompts.artifact import Artifact, Manifest, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.segments import Segments
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.runs.run import Run
from clinprompt.runs.suite_data import encode_all, examples_of
from clinprompt.tasks.load import TaskData
from clinprompt.training.distillation import distillation_loss, open_teachers
from clinprompt.training.fit import FitMember, FitSpec, fit, fit_together


def distill(run: Run, sources: Sequence[TaskData], *, teaching: Run | None = None) -> Artifact:
    """Return the metaprompt of the source tasks; train it unless the run's store has it.

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
    settings, files = run.config.distill, run.place("distill")
    opened = open_teachers(run.backbone, teachers, rows, settings=settings, files=files)
    spec = FitSpec(
        settings,
        {"shared": settings.shared_rate, "factors": settings.factor_rate},
        run.config.seed,
        distillation_loss(opened),
        settings.sampling_temperature,
        settings.validate_every,
    )
    validation = [row for k, data in enumerate(sources) for row in _validation(run, data, k)]
    fit(
        run.backbone,
        FitMember(files.phase, run.tuner(module), rows, spec, validation),
        files,
    )
    artifact = make_artifact(_metaprompt_manifest(run, sources), dict(module.named_parameters()))
    run.store.save(artifact)
    opened.delete_cache()  # first of all: it reveals answers
    run.finish({name: artifact})
    run.forget(files.phase)
    return artifact


def teach(run: Run, sources: Sequence[TaskData]) -> list[Artifact]:
    """Return the teacher prompt of each source task; train those that the run's store lacks.

    ``teacher.together`` of them are trained side by side; each ends as it would alone, to rounding.
    """
    missing = [data for data in sources if _teacher_name(data) not in run.finished]
    size = run.config.teacher.together
    for first in range(0, len(missing), size):
        _train_teachers(run, missing[first : first + size])
    return [run.store.load(_teacher_name(data)) for data in sources]


def _train_teachers(run: Run, sources: Sequence[TaskData]) -> None:
    """Train the teachers of some source tasks side by side, and save them."""
    start = start_vectors(run.backbone, run.config.prompt, seed=run.config.seed)
    modules = [SoftPrompts(start[None]).to(run.backbone.device) for _ in sources]
    names = [_teacher_name(data) for data in sources]
    files = run.place(names[0]) if len(names) == 1 else run.place_of(names)
    members = [_teacher_member(run, *pair) for pair in zip(sources, modules, strict=True)]
    fit_together(run.backbone, members, files)
    made = {}
    for data, name, module in zip(sources, names, modules, strict=True):
        manifest = run.manifest("prompt", name, "teacher", [data.card])
        made[name] = make_artifact(manifest, {"vectors": module.vectors[0]})
        run.store.save(made[name])
    run.finish(made)
    for name in names:
        run.forget(name)


def _teacher_member(run: Run, data: TaskData, module: SoftPrompts) -> FitMember:
    settings = run.config.teacher
    spec = FitSpec(
        settings,
        {"prompt": settings.learning_rate},
        run.config.seed,
        validate_every=settings.validate_every,
    )
    rows, validation = run.training_rows(data), _validation(run, data, 0)
    return FitMember(_teacher_name(data), run.tuner(module), [rows], spec, validation)


def _teacher_name(data: TaskData) -> str:
    return f"teachers/{data.card.name}"


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
    """Return the rows of all tasks, each with the number of its task and a unique number."""
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
