"""The terms of the losses at each target token, as functions of tensors. Knows nothing of models.

Nothing is averaged here: the accumulator (``backbone/gradients.py``) weighs the target tokens.

Axes: N target tokens, V vocabulary, k most likely tokens, H hidden size.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """What a teacher predicts at N target tokens: its k most likely tokens and its hidden state.

    ``log_likely`` holds the log-probabilities of the tokens ``likely``, ``log_rest`` that of all
    other tokens together (-inf if k is the whole vocabulary), all in nats and at the temperature of
    the loss.
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
) -> TeacherOutputs:
    """Return the ``top_k`` most likely tokens (0: all) and the probability of the rest."""
    scores = logits / temperature
    num_likely = min(top_k or scores.shape[1], scores.shape[1])
    likely = scores.topk(num_likely, dim=-1).indices
    return TeacherOutputs(likely, *_split(scores, likely), hidden)


def task_loss(logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the cross-entropy of the correct token, in nats."""
    return cross_entropy(logits, labels, reduction="none")


def logits_loss(
    student: Float[Tensor, "N V"], teacher: TeacherOutputs, *, temperature: float
) -> Float[Tensor, " N"]:
    """Return τ² · KL(teacher ‖ student) in nats (arXiv 1503.02531, section 2).

    Both distributions have k + 1 outcomes: each of the teacher's most likely tokens, and any other
    token. If k is the whole vocabulary, this is the full divergence. Otherwise it leaves out how
    teacher and student differ among the other tokens, so it is never larger.
    """
    log_likely, log_rest = _split(student / temperature, teacher.likely)
    divergence = (teacher.log_likely.exp() * (teacher.log_likely - log_likely)).sum(dim=-1)
    if teacher.likely.shape[1] < student.shape[1]:
        divergence = divergence + teacher.log_rest.exp() * (teacher.log_rest - log_rest)
    return temperature**2 * divergence


def hidden_loss(
    student: Float[Tensor, "N H"], teacher: Float[Tensor, "N H"]
) -> Float[Tensor, " N"]:
    """Return the mean squared error of the hidden state, divided by the teacher's mean square."""
    student, teacher = student.float(), teacher.float()
    return (student - teacher).square().mean(dim=-1) / teacher.square().mean(dim=-1)


def _split(
    scores: Float[Tensor, "N V"], likely: Int[Tensor, "N k"]
) -> tuple[Float[Tensor, "N k"], Float[Tensor, " N"]]:
    """Return the log-probabilities of the tokens ``likely``, and of all others together.

    The others are summed directly: 1 minus the probability of the rest would lose precision.
    """
    total = scores.logsumexp(dim=-1, keepdim=True)
    rest = scores.scatter(1, likely, float("-inf")).logsumexp(dim=-1)
    return scores.gather(1, likely) - total, rest - total.squeeze(1)
