"""Score prompts on corrections: each on those made while it was served, or an old and a new one.

Knows no files and runs no model.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.statistics.significance import confidence_interval
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
    "answer, which may favor it. The interval (95 %) is that of notes drawn again."
)
_BESIDE = (
    "The score of a prompt on notes that it was trained on says little about other notes. "
    "Corrections that were made since then are a fair comparison."
)


@dataclass(frozen=True, slots=True)
class _Value:
    """A score with its interval; None without notes."""

    value: float | None
    low: float | None
    high: float | None

    def values(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def honest_scores(task: TaughtTask) -> dict[str, Any]:
    """Return for each prompt its score on the notes that were corrected while it was served."""
    corrected, skipped = task.corrected(), task.corrections.skipped()
    digests = [one.digest for one in task.prompts]
    digests += [one.made.offer.prompt for one in corrected]
    rows = []
    for digest in dict.fromkeys(digests):
        own = [one for one in corrected if one.made.offer.prompt == digest]
        num_skipped = sum(one.offer.prompt == digest for one in skipped)
        rows.append({**_about(task, digest), **_honest(task, digest, own), "skipped": num_skipped})
    return {
        "metric": task.card.metric,
        "scorer": _scorer(task.card),
        "prompts": rows,
        "too_few": FEW_ROWS,
        "note": _HONEST,
    }


def _about(task: TaughtTask, digest: str) -> dict[str, Any]:
    """Return what is known of a prompt; one that is none of the task's own has no version."""
    prompt, served = task.prompts.named(digest), task.prompts.served
    return {
        "version": prompt.version if prompt else None,
        "prompt": digest,
        "corrections": len(prompt.notes) if prompt else 0,
        "is_served": served is not None and served.digest == digest,
    }


def _honest(task: TaughtTask, digest: str, own: Sequence[Corrected]) -> dict[str, Any]:
    """Return the score of a prompt on the corrections that count, and how many do not and why."""
    counted = [one for one in own if one.made.offer.counts]
    others = [one for one in own if not one.made.offer.counts]
    prompt = task.prompts.named(digest)
    reasons = Counter(_reason(one, prompt) for one in others)
    score_of = _score(task.card, [one.said for one in counted], [one.answer for one in counted])
    left_out = {reason: reasons[reason] for reason in ("least_sure", "taken_from", "trained")}
    num_right = sum(is_same(task.card, one.said, one.answer) for one in counted)
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
        return _Value(None, None, None)
    scores = score(card.metric, answers, gold, labels=tuple(card.labels), positive=card.positive)
    interval = confidence_interval(scores, np.random.default_rng(_SEED))
    return _Value(scores.value, interval.low, interval.high)


def _scorer(card: TaskCard) -> str:
    """Return what the metric counts, in words."""
    kind = kind_of(card)
    if kind.empty is None:
        return card.metric
    return score(card.metric, [kind.empty], [kind.empty]).scorer
