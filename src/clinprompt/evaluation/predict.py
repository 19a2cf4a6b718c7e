"""Answer examples with a frozen backbone, with or without prompts. Knows nothing about training."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import numpy as np

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import answer_all, score_choices
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Ask
from clinprompt.batches.encode import Encoder
from clinprompt.evaluation.questions import Prediction, PromptUse, Question, questions
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.records import Example

AnswerCount = Callable[[int, int], object]  # called with the numbers of answered and of all rows


def predict(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompts: Sequence[PromptUse] = (),
) -> list[Prediction]:
    """Answer examples of any mixture of tasks, in the given order; long inputs part by part.

    Closed label sets are scored by likelihood, everything else is decoded greedily. If
    ``encoder.constrained``, answers that list mentions or links of a text contain only words of
    that text. ``prompts`` is as in ``questions``.
    """
    asked = answered(backbone, encoder, examples, cards=cards, bank=bank, prompts=prompts)
    return [question.prediction() for question in asked]


def answered(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompts: Sequence[PromptUse] = (),
) -> list[Question]:
    """Return the questions of examples, all answered; see ``predict``."""
    asked = questions(backbone, encoder, examples, cards=cards, bank=bank, prompts=prompts)
    answer_questions(backbone, asked)
    return asked


def answer_questions(
    backbone: Backbone, asked: Sequence[Question], progress: AnswerCount | None = None
) -> None:
    """Answer all rows of questions; ``progress`` hears how many of them are answered."""
    asks = [ask for question in asked for ask in question.asks]
    answer_all(backbone, asks, _counted(progress, len(asks)))


def nothing_margins(
    backbone: Backbone, asked: Sequence[Question], bank: Bank, progress: AnswerCount | None = None
) -> list[float]:
    """Return by how much listing nothing is more likely than the best first token otherwise.

    ``asked`` are questions of ``bank``, which need no answer. There is one value, in nats, for each
    of their rows in which the first token decides. ``progress`` is as in ``answer_questions``.
    """
    pairs = [pair for one in asked for pair in zip(one.asks, one.rules, strict=True)]
    decided = []
    for ask, rule in pairs:
        nothing = rule.only_nothing() if rule else ()
        others = np.setdiff1d(rule.allowed(), nothing) if rule else ()
        if len(nothing) and len(others):
            decided.append((ask.row, [(int(one),) for one in (*nothing, *others)], len(nothing)))
    scores = score_choices(
        backbone,
        [row for row, _, _ in decided],
        [ids for _, ids, _ in decided],
        bank,
        _counted(progress, len(decided)),
    )
    return [
        max(own[:num]) - max(own[num:]) for own, (_, _, num) in zip(scores, decided, strict=True)
    ]


def _counted(progress: AnswerCount | None, total: int) -> Callable[[Ask], object] | None:
    """Return what counts each answered row of ``total`` for ``progress``, from 0 on."""
    if progress is None or not total:
        return None
    progress(0, total)
    numbers = count(1)
    return lambda _: progress(next(numbers), total)
