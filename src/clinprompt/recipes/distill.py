"""Train a teacher for each source task, then one metaprompt that they teach.

Axes: K source tasks, P prompt positions, H hidden size, R rank.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.shared_prefix import (
    Loss,
    Prefix,
    TargetStates,
    read_prompts,
    target_states,
)
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.batches.encode import Batch, Row
from clinprompt.config import DistillSettings, PromptSettings
from clinprompt.prompts.artifact import Artifact, Manifest, make_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.initializers import from_text, from_vocabulary, mean_of_teachers
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.recipes.context import Run
from clinprompt.recipes.suite import encode_all, examples_of, training_rows
from clinprompt.recipes.tune import Exercise, Objective, Terms, tune
from clinprompt.tasks.load import TaskData
from clinprompt.training.losses import hidden_loss, logits_loss, task_loss, token_weights


def distill(run: Run, sources: Sequence[TaskData]) -> Artifact:
    """Return the metaprompt of the source tasks, from the run's store if it is there already."""
    name = "metaprompt"
    if name in run.finished:
        return run.store.metaprompt(run.finished[name])
    teachers = [teach(run, data) for data in sources]
    rows = [_source_rows(run, data, task) for task, data in enumerate(sources)]
    vectors = [teacher.tensors["vectors"] for teacher in teachers]
    module = _student(run, vectors).to(run.backbone.device)
    settings = run.config.distill
    with torch.no_grad():
        stacked = torch.stack(vectors).to(run.backbone.device)
        prefix = read_prompts(run.backbone.model, stacked)
    place = run.place("distill")
    tune(
        run.backbone,
        PromptTuner(module),
        rows,
        exercise=Exercise(
            settings,
            {"shared": settings.shared_rate, "factors": settings.factor_rate},
            run.config.seed,
            distillation_objective(run.backbone, prefix, settings),
            settings.sampling_temperature,
            settings.validate_every,
        ),
        place=place,
        validation=[row for k, data in enumerate(sources) for row in _validation(run, data, k)],
    )
    artifact = make_artifact(_metaprompt_manifest(run, sources), dict(module.named_parameters()))
    run.store.save(artifact)
    run.finish(name, artifact.manifest.content_hash, place)
    return artifact


def teach(run: Run, data: TaskData) -> Artifact:
    """Return the teacher prompt of one source task, from the run's store if it is there already."""
    name = f"teachers/{data.card.name}"
    if name in run.finished:
        return run.store.load(name)
    settings = run.config.teacher
    start = start_vectors(run.backbone, run.config.prompt, seed=run.config.seed)
    module = SoftPrompts(start[None]).to(run.backbone.device)
    place = run.place(name)
    tune(
        run.backbone,
        PromptTuner(module),
        [_source_rows(run, data, 0)],
        exercise=Exercise(
            settings,
            {"prompt": settings.learning_rate},
            run.config.seed,
            validate_every=settings.validate_every,
        ),
        place=place,
        validation=_validation(run, data, 0),
    )
    manifest = run.manifest("prompt", name, "teacher", [data.card])
    artifact = make_artifact(manifest, {"vectors": module.vectors[0]})
    run.store.save(artifact)
    run.finish(name, artifact.manifest.content_hash, place)
    return artifact


def start_vectors(backbone: Backbone, settings: PromptSettings, *, seed: int) -> Tensor:
    """Return an untaught prompt [P, H], as the settings say."""
    if settings.start == "text":
        ids = backbone.tokenizer(settings.text, add_special_tokens=False)["input_ids"]
        return from_text(backbone.embeddings, ids, length=settings.length)
    generator = torch.Generator().manual_seed(seed)
    return from_vocabulary(backbone.embeddings, length=settings.length, generator=generator)


def distillation_objective(
    backbone: Backbone, teachers: Prefix, settings: DistillSettings
) -> Objective:
    """Return task loss + λ_logits · τ² · KL(teacher ‖ student) + λ_hidden · hidden-state error.

    ``teachers`` holds the keys and values of the K teacher prompts. The terms of a step are summed
    into its ``terms``.
    """

    def objective(num_rows: int, terms: Terms) -> Loss:
        def loss(batch: Batch, student: TargetStates) -> Tensor:
            with torch.no_grad():
                teacher = target_states(backbone.model, batch, teachers.select(batch.tasks))
            weights = token_weights(student.rows, num_rows=num_rows)
            parts = {
                "task": task_loss(student.logits, student.labels, weights),
                "logits": logits_loss(
                    student.logits, teacher.logits, weights, temperature=settings.temperature
                ),
                "hidden": hidden_loss(student.hidden, teacher.hidden, weights),
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


def _student(run: Run, teachers: Sequence[Tensor]) -> DecomposedPrompts:
    settings = run.config.prompt
    if run.config.distill.start == "teachers":
        shared = mean_of_teachers(teachers)
    else:
        own = settings.model_copy(update={"start": run.config.distill.start})
        shared = start_vectors(run.backbone, own, seed=run.config.seed)
    columns, rows = neutral_factors(
        len(teachers),
        length=settings.length,
        hidden_size=run.backbone.hidden_size,
        rank=settings.rank,
        generator=torch.Generator().manual_seed(run.config.seed),
    )
    return DecomposedPrompts(shared, columns, rows)


def _source_rows(run: Run, data: TaskData, task: int) -> tuple[Row, ...]:
    limit, seed = run.config.data.train_rows, run.config.seed
    return training_rows(run.encoder(), data, limit=limit, seed=seed, task=task)


def _validation(run: Run, data: TaskData, task: int) -> tuple[Row, ...]:
    limit, seed = run.config.data.validation_rows, run.config.seed
    examples = examples_of(data, "validation", limit=limit, seed=seed)
    return encode_all(run.encoder(), data.card, examples, task)


def _metaprompt_manifest(run: Run, sources: Sequence[TaskData]) -> Manifest:
    return run.manifest("metaprompt", "metaprompt", "distilled", [data.card for data in sources])
