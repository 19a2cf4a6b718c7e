"""Correct scores for the answers that a model prefers on any input. Knows no models.

This is batch calibration: a label's mean log-probability over inputs of the task, whose answers are
not needed, is subtracted from its log-probability (Zhou et al. 2024, arXiv 2309.17249; here with
the mean of log-probabilities instead of the logarithm of the mean).

Answers that list mentions or links are corrected in the same way in their first decision: to list
nothing or something. A margin is the log-probability of the first token of the answer that lists
nothing, minus that of the best first token of another answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from statistics import mean

import numpy as np

from clinprompt.evaluation.confidence import option_probabilities


@dataclass(frozen=True, slots=True)
class Calibration:
    """The mean log-probability of each label's word over inputs of a task, in nats.

    ``nothing_offset``, in nats, is subtracted from the log-probability of listing nothing.
    """

    means: Mapping[str, float] = field(default_factory=dict)
    nothing_offset: float = 0.0

    def corrected(
        self, choices: Sequence[str], log_likelihoods: Sequence[float]
    ) -> tuple[float, ...]:
        """Return the scores of a row's choices without the means of their words.

        Scores stay as they are if the row has a choice that the calibration does not know.
        """
        if not self.means.keys() >= set(choices):
            return tuple(log_likelihoods)
        pairs = zip(choices, log_likelihoods, strict=True)
        return tuple(one - self.means[choice] for choice, one in pairs)


def calibration_of(
    choices: Sequence[str], log_likelihoods: Sequence[Sequence[float]]
) -> Calibration:
    """Return the calibration from scores of at least one input [N, C], all with the same choices.

    A probability is a label's share of the likelihoods of all labels.
    """
    rows = [option_probabilities(own) for own in log_likelihoods]
    smallest = 1e-30  # a share of 0 has no logarithm
    means = [mean(log(max(one, smallest)) for one in column) for column in zip(*rows, strict=True)]
    return Calibration(dict(zip(choices, means, strict=True)))


def offset_of(margins: Sequence[float], *, share: float | None = None) -> float:
    """Return the offset from the margins of at least one input, in nats.

    With a ``share``, this share of the inputs lists nothing after the correction; otherwise the
    offset is the mean margin.
    """
    if share is None:
        return mean(margins)
    ordered = np.sort(margins)
    listing = round((1 - share) * len(ordered))
    edges = np.concatenate([[ordered[0] - 1], (ordered[:-1] + ordered[1:]) / 2, [ordered[-1] + 1]])
    return float(edges[listing])
