"""Correct label scores for the labels that a model prefers on any input. Knows no models.

This is batch calibration: a label's mean log-probability over inputs of the task, whose answers are
not needed, is subtracted from its log-probability (Zhou et al. 2024, arXiv 2309.17249; here with
the mean of log-probabilities instead of the logarithm of the mean).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import mean

from clinprompt.evaluation.confidence import option_probabilities


@dataclass(frozen=True, slots=True)
class Calibration:
    """The mean log-probability of each label's word over inputs of a task, in nats."""

    means: Mapping[str, float]

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
