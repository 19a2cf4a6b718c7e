"""The three terms of the distillation loss, as functions of tensors. Knows nothing of models.

Every row of a step counts the same, whatever the length of its answer: a target token of a row
with n target tokens has weight 1 / (n · rows in the step).

Axes: N target tokens, V vocabulary, H hidden size, B rows.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax


def token_weights(rows: Int[Tensor, " N"], *, num_rows: int) -> Float[Tensor, " N"]:
    """Return the weight of each target token; ``num_rows`` counts the rows of the whole step."""
    lengths = torch.bincount(rows)
    return 1.0 / (lengths[rows] * num_rows)


def task_loss(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], weights: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Return the weighted cross-entropy of the right tokens, in nats."""
    return (cross_entropy(logits, labels, reduction="none") * weights).sum()


def logits_loss(
    student: Float[Tensor, "N V"],
    teacher: Float[Tensor, "N V"],
    weights: Float[Tensor, " N"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return τ² · KL(teacher ‖ student), weighted (arXiv 1503.02531, section 2)."""
    from_teacher = log_softmax(teacher / temperature, dim=-1)
    from_student = log_softmax(student / temperature, dim=-1)
    divergence = (from_teacher.exp() * (from_teacher - from_student)).sum(dim=-1)
    return temperature**2 * (divergence * weights).sum()


def hidden_loss(
    student: Float[Tensor, "N H"], teacher: Float[Tensor, "N H"], weights: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Return the weighted squared error, as a share of the teacher's mean square."""
    student, teacher = student.float(), teacher.float()
    error = (student - teacher).square().mean(dim=-1) / teacher.square().mean(dim=-1)
    return (error * weights).sum()
