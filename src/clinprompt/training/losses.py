"""The three terms of the distillation loss, as functions of tensors. Knows nothing of models.

Every row of a step counts the same, whatever the length of its answer: a target token of a row
with n target tokens has weight 1 / (n · rows in the step).

Axes: N target tokens, V vocabulary, k likeliest tokens, H hidden size, B rows.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def token_weights(rows: Int[Tensor, " N"], *, num_rows: int) -> Float[Tensor, " N"]:
    """Return the weight of each target token; ``num_rows`` counts the rows of the whole step."""
    lengths = torch.bincount(rows)
    return 1.0 / (lengths[rows] * num_rows)


def task_loss(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], weights: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Return the weighted cross-entropy of the right tokens, in nats."""
    return token_losses(logits, labels, weights).sum()


def token_losses(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], weights: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Return what each right token adds to the loss, in nats."""
    return cross_entropy(logits, labels, reduction="none") * weights


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher says where N target tokens are due: its k likeliest tokens and all the rest.

    ``log_likely`` are log-probabilities of the tokens ``likely``, ``log_rest`` that of any other
    token (-inf where k is the whole vocabulary), all at the temperature of the loss, in nats.
    """

    likely: Int[Tensor, "N k"]
    log_likely: Float[Tensor, "N k"]
    log_rest: Float[Tensor, " N"]
    hidden: Float[Tensor, "N H"]


def summarize(
    logits: Float[Tensor, "N V"],
    hidden: Float[Tensor, "N H"],
    *,
    top_k: int,
    temperature: float,
) -> Taught:
    """Return a teacher's ``top_k`` likeliest tokens and the mass of the rest; 0 means all."""
    scores = logits / temperature
    num_likely = min(top_k or scores.shape[1], scores.shape[1])
    likely = scores.topk(num_likely, dim=-1).indices
    return Taught(likely, *_split(scores, likely), hidden)


def logits_loss(
    student: Float[Tensor, "N V"],
    taught: Taught,
    weights: Float[Tensor, " N"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return τ² · KL(teacher ‖ student), weighted (arXiv 1503.02531, section 2).

    Both are distributions over the teacher's likeliest tokens and one more outcome, any other
    token. Where these are the whole vocabulary, it is the full divergence; else it is less by what
    teacher and student differ inside the rest.
    """
    log_likely, log_rest = _split(student / temperature, taught.likely)
    divergence = (taught.log_likely.exp() * (taught.log_likely - log_likely)).sum(dim=-1)
    if taught.likely.shape[1] < student.shape[1]:
        divergence = divergence + taught.log_rest.exp() * (taught.log_rest - log_rest)
    return temperature**2 * (divergence * weights).sum()


def _split(
    scores: Float[Tensor, "N V"], likely: Int[Tensor, "N k"]
) -> tuple[Float[Tensor, "N k"], Float[Tensor, " N"]]:
    """Return the log-probabilities of some tokens, and of any other, without cancellation."""
    total = scores.logsumexp(dim=-1, keepdim=True)
    rest = scores.scatter(1, likely, float("-inf")).logsumexp(dim=-1)
    return scores.gather(1, likely) - total, rest - total.squeeze(1)


def hidden_loss(
    student: Float[Tensor, "N H"], teacher: Float[Tensor, "N H"], weights: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """Return the weighted squared error, as a share of the teacher's mean square."""
    student, teacher = student.float(), teacher.float()
    error = (student - teacher).square().mean(dim=-1) / teacher.square().mean(dim=-1)
    return (error * weights).sum()
