"""The distillation loss: learn from the correct answers and from one teacher prompt for each task.

Loss = task + λ_logits · τ² · KL(teacher ‖ student) + λ_hidden · error of the hidden state.

Axes: K tasks, P prompt positions, W width of a prompt, N target tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, TargetStates, make_bank, target_states
from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.tensor_parallel import num_parts
from clinprompt.batches.encode import Batch, Row
from clinprompt.prompts.artifact import Artifact
from clinprompt.settings.groups import DistillSettings
from clinprompt.training.loop import PhaseFiles
from clinprompt.training.losses import (
    TeacherOutputs,
    hidden_loss,
    logits_loss,
    summarize,
    task_loss,
)
from clinprompt.training.teacher_cache import CacheLayout, TeacherCache, remove_cache


@dataclass(frozen=True, slots=True)
class Teachers:
    """The teacher prompts of all tasks, in the order of the task numbers, on their backbone.

    With a ``cache``, each row is read only once; rows are identified by ``Row.number``.
    """

    backbone: Backbone
    bank: Bank
    settings: DistillSettings
    cache: TeacherCache | None = None

    def outputs(self, batch: Batch) -> TeacherOutputs:
        """Return what each row's teacher predicts at the target tokens of a batch."""
        if self.cache is None:
            return self._compute(batch)
        numbers = batch.numbers.tolist()
        if new := [place for place, number in enumerate(numbers) if not self.cache.has(number)]:
            self.cache.add([numbers[place] for place in new], self._compute(batch.select(new)))
        return self.cache.read(numbers, self.backbone.device)

    def delete_cache(self) -> None:
        """Delete the cached outputs if there are any: they reveal answers."""
        if self.cache is not None:
            self.cache.delete()

    @torch.no_grad()
    def _compute(self, batch: Batch) -> TeacherOutputs:
        states = target_states(self.backbone.model, batch, self.bank)
        return summarize(
            states.logits,
            states.hidden,
            top_k=self.settings.top_k,
            temperature=self.settings.temperature,
        )


def open_teachers(
    backbone: Backbone,
    prompts: Sequence[Artifact],
    rows: Sequence[Sequence[Row]],
    *,
    settings: DistillSettings,
    files: PhaseFiles,
) -> Teachers:
    """Return the teachers, ``prompts[k]`` for ``rows[k]``, with a cache next to the checkpoint.

    Rows are numbered from 0 over all tasks. The size of the cache is reported before it is made.

    Raises:
        RunError: the cache does not fit on the disk or cannot be written.
    """
    with torch.no_grad():
        vectors = torch.stack([prompt.tensors["vectors"] for prompt in prompts])
        placement = prompts[0].manifest.placement
        bank = make_bank(backbone.model, vectors.to(backbone.device), placement)
    path = files.checkpoint.parent / "teachers.cache"
    if not settings.cache_teachers:
        remove_cache(path)  # an earlier start of this run may have left one, and it reveals answers
        return Teachers(backbone, bank, settings)
    if num_parts(backbone.model) > 1:
        remove_cache(path)  # all processes must begin with the same rows in their caches: with none
    num_tokens = backbone.vocabulary_size
    layout = CacheLayout(
        lengths=tuple(len(row.target_ids) for own in rows for row in own),
        top_k=min(settings.top_k or num_tokens, num_tokens),
        hidden_size=backbone.hidden_size,
        teachers=" ".join(prompt.manifest.content_hash for prompt in prompts),
        temperature=settings.temperature,
    )
    size = f"{layout.num_bytes / 1e6:,.0f} MB"
    files.reporter.say(f"{files.phase}: the cache of teacher outputs takes {size}")
    return Teachers(backbone, bank, settings, TeacherCache(path, layout))


def distillation_loss(teachers: Teachers) -> Loss:
    """Return the distillation loss under these teachers, with the weights of their settings."""
    settings = teachers.settings
    return Loss(
        partial(distillation_terms, teachers),
        {"task": 1.0, "logits": settings.logits_weight, "hidden": settings.hidden_weight},
    )


def distillation_terms(
    teachers: Teachers, batch: Batch, student: TargetStates
) -> dict[str, Tensor]:
    """Return the task loss, the divergence and the hidden-state error at each target token [N]."""
    outputs, temperature = teachers.outputs(batch), teachers.settings.temperature
    return {
        "task": task_loss(student.logits, student.labels),
        "logits": logits_loss(student.logits, outputs, temperature=temperature),
        "hidden": hidden_loss(student.hidden, outputs.hidden),
    }
