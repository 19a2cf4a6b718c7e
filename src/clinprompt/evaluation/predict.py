"""Answer examples with a frozen backbone, with or without prompts. Knows nothing about training."""

from collections.abc import Mapping, Sequence

import numpy as np

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import answer_all, score_choices
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder
from clinprompt.evaluation.questions import Prediction, PromptUse, Question, questions
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.records import Example


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
    answer_all(backbone, [ask for question in asked for ask in question.asks])
    return asked


def label_scores(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompt: int = 0,
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each example, in nats, without calibration."""
    uses = [PromptUse(prompt)] * len(examples)
    asked = answered(backbone, encoder, examples, cards=cards, bank=bank, prompts=uses)
    return [ask.scores for question in asked for ask in question.asks]


def nothing_margins(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompt: int = 0,
) -> list[float]:
    """Return by how much listing nothing is more likely than the best first token otherwise.

    There is one value, in nats, for each part of an example in which the first token decides.
    """
    uses = [PromptUse(prompt)] * len(examples)
    found = questions(backbone, encoder, examples, cards=cards, bank=bank, prompts=uses)
    pairs = [pair for one in found for pair in zip(one.asks, one.rules, strict=True)]
    asked = []
    for ask, rule in pairs:
        nothing = rule.only_nothing() if rule else ()
        others = np.setdiff1d(rule.allowed(), nothing) if rule else ()
        if len(nothing) and len(others):
            asked.append((ask.row, [(int(one),) for one in (*nothing, *others)], len(nothing)))
    scores = score_choices(
        backbone, [row for row, _, _ in asked], [ids for _, ids, _ in asked], bank
    )
    return [
        max(own[:count]) - max(own[count:])
        for own, (_, _, count) in zip(scores, asked, strict=True)
    ]
