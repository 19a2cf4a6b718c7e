"""Answer examples with a frozen backbone, with or without prompts. Knows nothing about training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import distinct_choices, score_choices, write
from clinprompt.backbone.grammar import LineConstraint, answer_tokens
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.parts import Parts, parts_of
from clinprompt.evaluation.calibration import Calibration
from clinprompt.evaluation.confidence import line_probabilities, option_probabilities
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, parse_answer
from clinprompt.tasks.kinds.allowed import AllowedLines
from clinprompt.tasks.records import Answer, Example


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one example, parsed and as text, and whether the input was cut.

    ``probabilities`` are those that the model gives to the annotations of the answer, in order, or
    to its label (see ``confidence``); free text has none.
    """

    example: Example
    answer: Answer
    text: str
    input_was_cut: bool
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptUse:
    """The prompt that answers an example: its number in a bank, and its calibration, if any."""

    number: int = 0
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an example that a model reads at once; ``allowed`` is None if any answer is."""

    example: Example
    row: Row
    allowed: AllowedLines | None
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model answers to one part, with the probability of each line, or of the label."""

    text: str
    probabilities: tuple[float, ...]


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
    that text. ``prompts`` gives the prompt of ``bank`` for each example; without it, the first
    prompt answers all. An example that several prompts answer is encoded once if it is the same
    object.
    """
    split, encoded = _all_parts(encoder, examples, cards, prompts)
    answered = zip(encoded, _said(backbone, encoder, encoded, bank), strict=True)
    return [
        _joined(cards[example.task], example, parts, list(islice(answered, len(own))))
        for example, (parts, own) in zip(examples, split, strict=True)
    ]


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
    _, encoded = _all_parts(encoder, examples, cards, [PromptUse(prompt)] * len(examples))
    return _likelihoods(backbone, encoder, encoded, bank)


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
    _, encoded = _all_parts(encoder, examples, cards, [PromptUse(prompt)] * len(examples))
    asked = []
    for part, rule in zip(encoded, _constraints(backbone, encoder, encoded), strict=True):
        nothing = rule.only_nothing() if rule else ()
        others = np.setdiff1d(rule.allowed(), nothing) if rule else ()
        if len(nothing) and len(others):
            asked.append((part.row, [(int(one),) for one in (*nothing, *others)], len(nothing)))
    scores = score_choices(
        backbone, [row for row, _, _ in asked], [ids for _, ids, _ in asked], bank
    )
    return [
        max(own[:count]) - max(own[count:])
        for own, (_, _, count) in zip(scores, asked, strict=True)
    ]


def _all_parts(
    encoder: Encoder,
    examples: Sequence[Example],
    cards: Mapping[str, TaskCard],
    prompts: Sequence[PromptUse],
) -> tuple[list[tuple[Parts, list[_Part]]], list[_Part]]:
    """Return the parts of each example, and all parts in a row; only these have their prompts."""
    uses = prompts or [PromptUse()] * len(examples)
    distinct = {id(example): example for example in examples}
    known = {key: _encoded_parts(cards, one, encoder) for key, one in distinct.items()}
    split = [known[id(example)] for example in examples]
    encoded = [
        replace(part, row=replace(part.row, task=use.number), calibration=use.calibration)
        for (_, own), use in zip(split, uses, strict=True)
        for part in own
    ]
    return split, encoded


def _encoded_parts(
    cards: Mapping[str, TaskCard], example: Example, encoder: Encoder
) -> tuple[Parts, list[_Part]]:
    parts = parts_of(cards[example.task], _unanswered(example), encoder)
    return parts, [
        _Part(part, encoder.encode(part), _allowed(cards[part.task], part, encoder))
        for part in parts.examples
    ]


def _allowed(card: TaskCard, example: Example, encoder: Encoder) -> AllowedLines | None:
    """Return what the answer may be, or None if it may be anything."""
    allowed = kind_of(card).allowed if encoder.constrained else None
    return allowed(card, example.record) if allowed else None


def _unanswered(example: Example) -> Example:
    """Return an example without its answer, so that the way its input is split cannot reveal it."""
    return replace(example, record=replace(example.record, answer=None), target=None)


def _joined(
    card: TaskCard, example: Example, parts: Parts, answered: Sequence[tuple[_Part, _Said]]
) -> Prediction:
    answers = [parse_answer(card, part.example.record, said.text) for part, said in answered]
    answer = parts.join(answers)
    return Prediction(
        example,
        answer,
        "\n".join(said.text for _, said in answered),
        any(part.row.input_was_cut for part, _ in answered),
        _probabilities(card, parts, answered, answer),
    )


def _probabilities(
    card: TaskCard, parts: Parts, answered: Sequence[tuple[_Part, _Said]], answer: Answer
) -> tuple[float, ...]:
    """Return the probability of each annotation of a joined answer, or of the label."""
    kind = kind_of(card)
    if kind.listing is None or kind.items_by_line is None:
        [(part, said)] = answered
        return said.probabilities if part.example.choices else ()
    values = []
    for part, said in answered:
        items = kind.items_by_line(card, part.example.record, said.text)
        # Probabilities of an incomplete last line, which the text lacks, may follow.
        found = zip(items, said.probabilities, strict=False)
        values.append({item: value for item, value in found if item is not None})
    joined = parts.join_values(values)
    return tuple(joined[item] for item in kind.listing.items(answer))


def _said(
    backbone: Backbone, encoder: Encoder, encoded: Sequence[_Part], bank: Bank
) -> list[_Said]:
    """Return what the model answers to each part, in order."""
    closed, written = (
        [i for i, part in enumerate(encoded) if bool(part.example.choices) == is_closed]
        for is_closed in (True, False)
    )
    own = [encoded[i] for i in closed]
    scores = _likelihoods(backbone, encoder, own, bank)
    said = {i: _chosen(part, likely) for i, part, likely in zip(closed, own, scores, strict=True)}
    said |= zip(
        written, _write(backbone, encoder, [encoded[i] for i in written], bank), strict=True
    )
    return [said[i] for i in range(len(encoded))]


def _chosen(part: _Part, log_likelihoods: Sequence[float]) -> _Said:
    """Return the most likely choice, which is the first of equal ones."""
    choices, calibration = part.example.choices, part.calibration
    scores = calibration.corrected(choices, log_likelihoods) if calibration else log_likelihoods
    likely = option_probabilities(scores)
    return _Said(choices[scores.index(max(scores))], (max(likely),))


def _likelihoods(
    backbone: Backbone, encoder: Encoder, own: Sequence[_Part], bank: Bank
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each part, in nats."""
    choices = [
        distinct_choices(
            [encoder.encode_target(choice) for choice in part.example.choices],
            end_id=encoder.end_id,
        )
        for part in own
    ]
    return score_choices(backbone, [part.row for part in own], choices, bank)


def _write(backbone: Backbone, encoder: Encoder, own: Sequence[_Part], bank: Bank) -> list[_Said]:
    limits = [encoder.target_limit(part.example.task) for part in own]
    constraints = _constraints(backbone, encoder, own)
    written = write(
        backbone,
        [part.row for part in own],
        bank,
        limits=limits,
        end_ids=backbone.end_ids | {encoder.end_id},
        constraints=constraints,
    )
    return [
        _Said(
            rule.text if rule else encoder.decode(one.ids),
            line_probabilities(one, [encoder.decode([token]) for token in one.ids]),
        )
        for rule, one in zip(constraints, written, strict=True)
    ]


def _constraints(
    backbone: Backbone, encoder: Encoder, own: Sequence[_Part]
) -> list[LineConstraint | None]:
    """Return the constraint of each part's answer, or None if any answer is allowed."""
    ends = backbone.end_ids | {encoder.end_id}
    return [
        LineConstraint(
            answer_tokens(backbone, ends),
            part.allowed,
            start=encoder.answer_start,
            nothing_offset=part.calibration.nothing_offset if part.calibration else 0.0,
        )
        if part.allowed
        else None
        for part in own
    ]
