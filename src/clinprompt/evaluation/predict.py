"""Answer examples with a frozen backbone, with or without prompts. Knows nothing about training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import distinct_choices, generate, score_choices
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.parts import Parts, parts_of
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import parse_answer
from clinprompt.tasks.records import Answer, Example


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one example, parsed and as text, and whether the input was cut."""

    example: Example
    answer: Answer
    text: str
    input_was_cut: bool


def predict(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    *,
    cards: Mapping[str, TaskCard],
    bank: Bank,
    prompts: Sequence[int] | None = None,
) -> list[Prediction]:
    """Answer examples of any mixture of tasks, in the given order; long inputs part by part.

    Closed label sets are scored by likelihood, everything else is decoded greedily. ``prompts``
    gives the prompt of ``bank`` for each example; without it, the first prompt answers all. An
    example that several prompts answer is encoded once if it is the same object.
    """
    numbers = prompts if prompts is not None else [0] * len(examples)
    distinct = {id(example): example for example in examples}
    known = {key: _encoded_parts(cards, one, encoder) for key, one in distinct.items()}
    split = [known[id(example)] for example in examples]
    encoded = [
        (part, replace(row, task=number))
        for (_, own), number in zip(split, numbers, strict=True)
        for part, row in own
    ]
    answered = zip(encoded, _texts(backbone, encoder, encoded, bank), strict=True)
    return [
        _joined(cards[example.task], example, parts, list(islice(answered, len(own))))
        for example, (parts, own) in zip(examples, split, strict=True)
    ]


def _encoded_parts(
    cards: Mapping[str, TaskCard], example: Example, encoder: Encoder
) -> tuple[Parts, list[tuple[Example, Row]]]:
    parts = parts_of(cards[example.task], _unanswered(example), encoder)
    return parts, [(part, encoder.encode(part)) for part in parts.examples]


def _unanswered(example: Example) -> Example:
    """Return an example without its answer, so that the way its input is split cannot reveal it."""
    return replace(example, record=replace(example.record, answer=None), target=None)


def _joined(
    card: TaskCard,
    example: Example,
    parts: Parts,
    answered: Sequence[tuple[tuple[Example, Row], str]],
) -> Prediction:
    answers = [parse_answer(card, part.record, text) for (part, _), text in answered]
    return Prediction(
        example,
        parts.join(answers),
        "\n".join(text for _, text in answered),
        any(row.input_was_cut for (_, row), _ in answered),
    )


def _texts(
    backbone: Backbone, encoder: Encoder, encoded: Sequence[tuple[Example, Row]], bank: Bank
) -> list[str]:
    """Return the text that the model answers to each row, in order."""
    texts = [""] * len(encoded)
    for is_closed, answer in ((True, _choose), (False, _write)):
        wanted = [i for i, (one, _) in enumerate(encoded) if bool(one.choices) == is_closed]
        own = [encoded[i] for i in wanted]
        for i, text in zip(wanted, answer(backbone, encoder, own, bank), strict=True):
            texts[i] = text
    return texts


def _choose(
    backbone: Backbone, encoder: Encoder, own: Sequence[tuple[Example, Row]], bank: Bank
) -> list[str]:
    choices = [
        distinct_choices(
            [encoder.encode_target(choice) for choice in example.choices], end_id=encoder.end_id
        )
        for example, _ in own
    ]
    scores = score_choices(backbone, [row for _, row in own], choices, bank)
    return [
        example.choices[likely.index(max(likely))]
        for (example, _), likely in zip(own, scores, strict=True)
    ]


def _write(
    backbone: Backbone, encoder: Encoder, own: Sequence[tuple[Example, Row]], bank: Bank
) -> list[str]:
    limits = [encoder.target_limit(example.task) for example, _ in own]
    ends = backbone.end_ids | {encoder.end_id}
    written = generate(backbone, [row for _, row in own], bank, limits=limits, end_ids=ends)
    return [encoder.decode(ids) for ids in written]
