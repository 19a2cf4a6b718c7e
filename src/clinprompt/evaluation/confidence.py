"""Probabilities of answers, from those of their tokens or of their options. Knows no models."""

from collections.abc import Sequence
from math import exp

from clinprompt.backbone.scheduler import Written


def option_probabilities(log_likelihoods: Sequence[float]) -> tuple[float, ...]:
    """Return the softmax over the log-likelihoods of all options of a row, in nats."""
    highest = max(log_likelihoods)
    weights = [exp(one - highest) for one in log_likelihoods]
    return tuple(one / sum(weights) for one in weights)


def line_probabilities(written: Written, pieces: Sequence[str]) -> tuple[float, ...]:
    """Return the product of the token probabilities of each line of an answer, blank ones too.

    ``pieces`` are the texts of the single tokens. The token that ends a line belongs to it, be it a
    line end or the end of the answer. A token with parts of several lines belongs to all of them.
    """
    sums = [0.0]
    for piece, log_probability in zip(pieces, written.log_probabilities, strict=True):
        first = len(sums) - 1
        sums += [0.0] * piece.count("\n")
        ended = len(sums) - 1 if piece.endswith("\n") else len(sums)
        for line in range(first, ended):
            sums[line] += log_probability
    sums[-1] += written.end_log_probability
    return tuple(map(exp, sums))
