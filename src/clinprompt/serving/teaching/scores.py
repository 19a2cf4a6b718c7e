"""Score prompts on corrections: each on those made while it was served, or an old and a new one.

Knows no files and runs no model. A score is None if there is nothing to score: no notes, or none
with a mention or link in its right answer or in the answer of the prompt. ``evaluation`` counts
this case as 0, so that every test set has a score (``Scores``). An interval is None
where the notes are too few or too equal to give one (``interval_of_few``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.statistics.significance import interval_of_few
from clinprompt.serving.teaching.corrections import Made
from clinprompt.serving.teaching.prompts import KeptPrompt
from clinprompt.serving.teaching.task import Corrected, TaughtTask, is_same
from clinprompt.settings.defaults import FEW_ROWS
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.records import Answer

_SEED = 0  # of the resamples
_HONEST = (
    "Each prompt is scored on the notes that were corrected while it was served: by its own answer "
    "before the correction, which it was not trained on. Only notes in random order count, because "
    "the notes that a prompt is least sure of are harder than others. Whoever corrects sees that "
    "answer, which may favor it. On many such notes, the score would probably be in the interval "
    "(95 %); with few notes there may be no interval."
)
_BESIDE = (
    "The score of a prompt on notes that it was trained on says little about other notes. "
    "Corrections that were made since then are a fair comparison."
)


@dataclass(frozen=True, slots=True)
class _Value:
    """A score with its interval; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def values(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the prompts of a task are scored by, as it is at one moment; ``served`` is a digest.

    Only the event loop may take it, because it changes tasks. Any thread may score it.
    """

    card: TaskCard
    corrected: tuple[Corrected, ...]
    skipped: tuple[Made, ...]
    prompts: tuple[KeptPrompt, ...]
    served: str | None

    @classmethod
    def of(cls, task: TaughtTask) -> "Evidence":
        """Return that of a task as it is now."""
        served = task.prompts.served
        return cls(
            task.card,
            tuple(task.corrected()),
            tuple(task.corrections.skipped()),
            tuple(task.prompts),
            served.digest if served else None,
        )

    def prompt(self, digest: str) -> KeptPrompt | None:
        """Return the prompt with a digest; None if it is none of the task's own."""
        return next((one for one in reversed(self.prompts) if one.digest == digest), None)


def honest_scores(given: Evidence) -> dict[str, Any]:
    """Return for each prompt its score on the notes that were corrected while it was served."""
    digests = [one.digest for one in given.prompts]
    digests += [one.made.offer.prompt for one in given.corrected]
    return {
        "metric": given.card.metric,
        "scorer": _scorer(given.card),
        "prompts": [_row(given, digest) for digest in dict.fromkeys(digests)],
        "too_few": FEW_ROWS,
        "note": _HONEST,
    }


def _row(given: Evidence, digest: str) -> dict[str, Any]:
    """Return a prompt with its score; one that is none of the task's own has no version."""
    prompt = given.prompt(digest)
    return {
        "version": prompt.version if prompt else None,
        "prompt": digest,
        "corrections": len(prompt.notes) if prompt else 0,
        "is_served": digest == given.served,
        **_honest(given, digest),
        "skipped": sum(one.offer.prompt == digest for one in given.skipped),
    }


def _honest(given: Evidence, digest: str) -> dict[str, Any]:
    """Return the score of a prompt on the corrections that count, and how many do not and why."""
    own = [one for one in given.corrected if one.made.offer.prompt == digest]
    counted = [one for one in own if one.made.offer.counts]
    others = [one for one in own if not one.made.offer.counts]
    reasons = Counter(_reason(one, given.prompt(digest)) for one in others)
    score_of = _score(given.card, [one.said for one in counted], [one.answer for one in counted])
    left_out = {reason: reasons[reason] for reason in ("least_sure", "taken_from", "trained")}
    num_right = sum(is_same(given.card, one.said, one.answer) for one in counted)
    counts = {"num": len(counted), "num_right": num_right}
    return {**counts, **score_of.values(), "left_out": left_out}


def _reason(one: Corrected, prompt: KeptPrompt | None) -> str:
    """Return why a correction does not count for the test of the prompt that was served."""
    if prompt is not None and prompt.was_trained_on(one.note):
        return "trained"
    return "least_sure" if one.made.offer.order == "least_sure" else "taken_from"


@dataclass(frozen=True, slots=True)
class Beside:
    """A corrected note with the answers of two prompts; ``is_trained`` by the new one."""

    corrected: Corrected
    old: Answer
    new: Answer
    is_trained: bool


def scores_beside(task: TaughtTask, rows: Sequence[Beside]) -> dict[str, Any]:
    """Return the scores of two prompts on notes that the new one was trained on, and on others."""
    return {
        "metric": task.card.metric,
        "trained": _both(task, [one for one in rows if one.is_trained]),
        "not_trained": _both(task, [one for one in rows if not one.is_trained]),
        "note": _BESIDE,
    }


def _both(task: TaughtTask, rows: Sequence[Beside]) -> dict[str, Any] | None:
    if not rows:
        return None
    gold = [one.corrected.answer for one in rows]
    return {
        "num": len(rows),
        "old": _score(task.card, [one.old for one in rows], gold).values(),
        "new": _score(task.card, [one.new for one in rows], gold).values(),
    }


def _score(card: TaskCard, answers: Sequence[Answer], gold: Sequence[Answer]) -> _Value:
    if not answers:
        return _Value()
    scores = score(card.metric, answers, gold, labels=tuple(card.labels), positive=card.positive)
    if scores.is_undefined:
        return _Value()
    interval = interval_of_few(scores, np.random.default_rng(_SEED))
    return _Value(scores.value, *(interval or ()))


def _scorer(card: TaskCard) -> str:
    """Return what the metric counts, in words."""
    kind = kind_of(card)
    if kind.empty is None:
        return card.metric
    return score(card.metric, [kind.empty], [kind.empty]).scorer
