"""Answer a task's test rows and score the answers: one cell of a comparison."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.memory import peak_bytes
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.metrics import partial_entity_f1, rates, score
from clinprompt.evaluation.predict import predict
from clinprompt.evaluation.statistics.significance import confidence_interval, detectable_difference
from clinprompt.runs.run import Run
from clinprompt.settings.groups import Shots
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import instruction_of
from clinprompt.tasks.records import Answer, Example


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method trained for one task, from how much, and how long it took."""

    trained_numbers: int = 0
    artifact_bytes: int = 0
    num_examples: int = 0
    steps: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is scored: a method, its shots, its prompt as a bank of one (if any), what it paid.

    ``instructed`` examples carry an instruction for a chat model.
    """

    method: str
    shots: Shots
    seed: int
    bank: Bank = field(default_factory=Bank)
    cost: Cost = field(default_factory=Cost)
    instructed: bool = False


def evaluate(run: Run, card: TaskCard, examples: Sequence[Example], attempt: Attempt) -> Cell:
    """Return the scored answers of one method to the examples of one task."""
    started = perf_counter()
    instruction = instruction_of(card) if attempt.instructed else ""
    predictions = predict(
        run.backbone,
        run.encoder(instruction=instruction),
        examples,
        cards={card.name: card},
        bank=attempt.bank,
    )
    seconds = perf_counter() - started
    answers = [prediction.answer for prediction in predictions]
    gold = [_gold(example) for example in examples]
    scores = score(card.metric, answers, gold, labels=tuple(card.labels), positive=card.positive)
    interval = confidence_interval(scores, np.random.default_rng(run.config.seed))
    counted, paid = rates(answers), attempt.cost
    return Cell(
        backbone=run.settings()["backbone"],
        target=card.name,
        task_type=card.type,
        method=attempt.method,
        shots=attempt.shots,
        num_examples=paid.num_examples,
        seed=attempt.seed,
        metric=card.metric,
        scorer=f"{scores.scorer}; {card.setting}" if card.setting else scores.scorer,
        value=scores.value,
        low=interval.low,
        high=interval.high,
        num_rows=len(examples),
        detectable=detectable_difference(interval.standard_error),
        trained_numbers=paid.trained_numbers,
        artifact_bytes=paid.artifact_bytes,
        steps=paid.steps,
        train_seconds=paid.seconds,
        evaluate_seconds=seconds,
        tokens_per_second=paid.tokens_per_second,
        unparseable=counted.unparseable,
        ungrounded=counted.ungrounded,
        truncated=float(np.mean([prediction.input_was_cut for prediction in predictions])),
        peak_bytes=peak_bytes(run.backbone.device),
        extra=_extra(card, answers, gold),
        row_digest=_digest(examples),
        statistics=tuple(map(tuple, scores.statistics.tolist())),
    )


def _digest(examples: Sequence[Example]) -> str:
    """Return a short sha256 of which rows were answered, and in what order."""
    names = "\n".join(example.record.id for example in examples)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _gold(example: Example) -> Answer:
    assert example.record.answer is not None, "test rows have answers"
    return example.record.answer


def _extra(card: TaskCard, answers: Sequence[Answer], gold: Sequence[Answer]) -> dict[str, float]:
    if card.answer == "spans":
        return {"partial_f1": partial_entity_f1(answers, gold, tuple(card.labels))}
    if card.answer == "label":
        other = "accuracy" if card.metric != "accuracy" else "macro_f1"
        return {other: score(other, answers, gold, labels=tuple(card.labels)).value}
    if card.answer == "text":
        others = {"rouge_l", "token_f1", "exact_match"} - {card.metric}
        return {other: score(other, answers, gold).value for other in sorted(others)}
    return {}
