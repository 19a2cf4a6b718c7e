"""Turn examples into rows to answer, and answered rows into predictions. Runs no model.

A question is one example with the rows that answer it: one for each part of a long input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clinprompt.backbone.answer_tokens import answer_tokens
from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import distinct_choices
from clinprompt.backbone.grammar import LineConstraint
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import Ask
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


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model answers to one part, with the probability of each line, or of the label."""

    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _AskedPart:
    """A part and the row that answers it, with what is needed to read the answer."""

    part: _Part
    ask: Ask
    rule: LineConstraint | None
    use: PromptUse
    encoder: Encoder

    def said(self) -> _Said:
        """Return what the model answered."""
        if self.part.example.choices:
            return _chosen(self.part.example.choices, self.ask.scores, self.use.calibration)
        written, decode = self.ask.written, self.encoder.decode
        text = self.rule.text if self.rule else decode(written.ids)
        return _Said(text, line_probabilities(written, [decode([one]) for one in written.ids]))


@dataclass(frozen=True, slots=True)
class Question:
    """One example with the rows that answer it."""

    card: TaskCard
    example: Example
    _parts: Parts
    _asked: tuple[_AskedPart, ...]

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Return the rows, one for each part of the input."""
        return tuple(one.ask for one in self._asked)

    @property
    def rules(self) -> tuple[LineConstraint | None, ...]:
        """Return the constraint on the answer to each part; None if it may be anything."""
        return tuple(one.rule for one in self._asked)

    def with_calibration(self, calibration: Calibration) -> "Question":
        """Return the question with another calibration of labels, and the same rows."""
        asked = (replace(one, use=replace(one.use, calibration=calibration)) for one in self._asked)
        return replace(self, _asked=tuple(asked))

    def prediction(self) -> Prediction:
        """Return the answer, when all rows are answered."""
        answered = [(one.part, one.said()) for one in self._asked]
        answers = [
            parse_answer(self.card, part.example.record, said.text) for part, said in answered
        ]
        answer = self._parts.join(answers)
        return Prediction(
            self.example,
            answer,
            "\n".join(said.text for _, said in answered),
            any(part.row.input_was_cut for part, _ in answered),
            _probabilities(self.card, self._parts, answered, answer),
        )


def questions(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompts: Sequence[PromptUse],
) -> list[Question]:
    """Return a question for each example, in order.

    ``prompts`` gives the prompt of ``bank`` for each example; if empty, the first prompt answers
    all. An example that several prompts answer is encoded once if it is the same object.
    """
    uses = prompts or [PromptUse()] * len(examples)
    distinct = {id(example): example for example in examples}
    known = {key: _encoded_parts(cards, one, encoder) for key, one in distinct.items()}
    found = []
    for example, use in zip(examples, uses, strict=True):
        parts, own = known[id(example)]
        asked = tuple(_asked(backbone, encoder, part, bank, use) for part in own)
        found.append(Question(cards[example.task], example, parts, asked))
    return found


def _asked(
    backbone: Backbone, encoder: Encoder, part: _Part, bank: Bank, use: PromptUse
) -> _AskedPart:
    """Return a part with its row: it chooses among labels, or writes."""
    row, example = replace(part.row, task=use.number), part.example
    if example.choices:
        encoded = [encoder.encode_target(choice) for choice in example.choices]
        choices = distinct_choices(encoded, end_id=encoder.end_id)
        return _AskedPart(part, Ask(row, bank, choices=choices), None, use, encoder)
    ends = frozenset(backbone.end_ids | {encoder.end_id})
    rule = None
    if part.allowed:
        rule = LineConstraint(
            answer_tokens(backbone, ends),
            part.allowed,
            start=encoder.answer_start,
            nothing_offset=use.calibration.nothing_offset if use.calibration else 0.0,
        )
    limit = encoder.target_limit(example.task)
    ask = Ask(row, bank, limit=limit, end_ids=ends, constraint=rule)
    return _AskedPart(part, ask, rule, use, encoder)


def _encoded_parts(
    cards: Mapping[str, TaskCard], example: Example, encoder: Encoder
) -> tuple[Parts, list[_Part]]:
    parts = parts_of(cards[example.task], unanswered(example), encoder)
    return parts, [
        _Part(part, encoder.encode(part), _allowed(cards[part.task], part, encoder))
        for part in parts.examples
    ]


def _allowed(card: TaskCard, example: Example, encoder: Encoder) -> AllowedLines | None:
    """Return what the answer may be, or None if it may be anything."""
    allowed = kind_of(card).allowed if encoder.constrained else None
    return allowed(card, example.record) if allowed else None


def unanswered(example: Example) -> Example:
    """Return an example without its answer, so that the way its input is split cannot reveal it."""
    return replace(example, record=replace(example.record, answer=None), target=None)


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


def _chosen(
    choices: Sequence[str], log_likelihoods: Sequence[float], calibration: Calibration | None
) -> _Said:
    """Return the most likely choice, which is the first of equal ones."""
    scores = calibration.corrected(choices, log_likelihoods) if calibration else log_likelihoods
    likely = option_probabilities(scores)
    return _Said(choices[scores.index(max(scores))], (max(likely),))
