"""Answer the test rows of tasks and score the answers: each task with one method is a cell."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

import numpy as np

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.memory import peak_bytes
from clinprompt.batches.encode import Encoder
from clinprompt.evaluation.calibration import Calibration
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.metrics import score, unusable_shares
from clinprompt.evaluation.predict import AnswerCount, answer_questions
from clinprompt.evaluation.questions import Prediction, PromptUse, questions
from clinprompt.evaluation.statistics.significance import confidence_interval, detectable_difference
from clinprompt.settings.groups import Shots
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.kinds.baselines import gold_answers
from clinprompt.tasks.records import Example


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method trained for one task, on how many examples, and how long it took."""

    trained_numbers: int = 0
    artifact_bytes: int = 0
    num_examples: int = 0
    steps: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class CellInput:
    """What one cell is made from, without the method's prompt: the examples to answer and more.

    ``interval_seed`` draws the confidence interval; ``seed`` is that of the method's shots.
    Inputs whose cells are evaluated together have equal encoders.
    """

    backbone_name: str
    card: TaskCard
    examples: Sequence[Example]
    encoder: Encoder
    method: str
    shots: Shots
    seed: int
    interval_seed: int
    cost: Cost = field(default_factory=Cost)
    calibration: Calibration | None = None


def score_cell(
    backbone: Backbone, given: CellInput, bank: Bank, progress: AnswerCount | None = None
) -> Cell:
    """Answer the examples of one task with one method, and return the scored cell."""
    [cell] = score_cells(backbone, [given], bank, progress)
    return cell


def score_cells(
    backbone: Backbone,
    inputs: Sequence[CellInput],
    bank: Bank,
    progress: AnswerCount | None = None,
) -> Iterator[Cell]:
    """Answer the examples of several cells in the same batches; yield the scored cells in order.

    ``bank`` has the prompt of each cell. The time is divided among the cells by examples.
    """
    started = perf_counter()
    examples = [example for given in inputs for example in given.examples]
    asked = questions(
        backbone,
        inputs[0].encoder,
        examples,
        cards={given.card.name: given.card for given in inputs},
        bank=bank,
        prompts=[
            use
            for number, given in enumerate(inputs)
            for use in [PromptUse(number, given.calibration)] * len(given.examples)
        ],
    )
    answer_questions(backbone, asked, progress)
    predictions = [question.prediction() for question in asked]
    seconds, answered = (perf_counter() - started) / len(examples), iter(predictions)
    for given in inputs:
        own = list(islice(answered, len(given.examples)))
        yield _scored(backbone, given, own, seconds * len(own))


def scores_of(cell: Cell) -> dict[str, float]:
    """Return a cell's score and its interval, as a manifest has them."""
    return {cell.metric: cell.value, "low": cell.low, "high": cell.high}


def _scored(
    backbone: Backbone, given: CellInput, predictions: Sequence[Prediction], seconds: float
) -> Cell:
    card, examples = given.card, given.examples
    answers = [prediction.answer for prediction in predictions]
    gold = gold_answers([example.record for example in examples])
    scores = score(card.metric, answers, gold, labels=tuple(card.labels), positive=card.positive)
    interval = confidence_interval(scores, np.random.default_rng(given.interval_seed))
    counted, paid = unusable_shares(kind_of(card), answers), given.cost
    return Cell(
        backbone=given.backbone_name,
        target=card.name,
        task_type=card.type,
        method=given.method,
        shots=given.shots,
        num_examples=paid.num_examples,
        seed=given.seed,
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
        peak_bytes=peak_bytes(backbone.device),
        extra=kind_of(card).extra_scores(card, answers, gold),
        row_digest=_digest(examples),
        statistics=tuple(map(tuple, scores.statistics.tolist())),
    )


def _digest(examples: Sequence[Example]) -> str:
    """Return a short sha256 of which rows were answered, and in what order."""
    names = "\n".join(example.record.id for example in examples)
    return hashlib.sha256(names.encode()).hexdigest()[:16]
