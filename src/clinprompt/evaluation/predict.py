"""Answer examples with a frozen backbone, under prompts or without. Knows nothing of training.

Axes: B rows of a batch, K tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import distinct_choices, generate, score_choices
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder, Row, alike, micro_batches
from clinprompt.batches.parts import Parts, parts_of
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.example import Answer, Example
from clinprompt.tasks.formats import parse_answer

TOKENS_AT_ONCE = 4096
SHARED_TOKENS = 32  # with as many in common, rows are read together where that saves reading
ROWS_OF_A_NOTE = 32
SCORING_OVERHEAD = 32  # tokens that one more group costs: a pass of its own
WRITING_OVERHEAD = 1000  # ... or as many passes as it writes tokens


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one example: parsed, as text, and whether its input had to be cut."""

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
    tasks: Mapping[str, int] | None = None,
    bank: Bank,
) -> list[Prediction]:
    """Answer examples of any mixture of tasks, in the order given; long ones part by part.

    Closed label sets are scored by likelihood, everything else is decoded greedily. ``bank``
    holds the prompts of K tasks; ``tasks`` tells which of them an example's task uses.
    """
    split = [parts_of(cards[example.task], _unanswered(example), encoder) for example in examples]
    asked = [part for parts in split for part in parts.examples]
    numbers = tasks or {}
    rows = [encoder.encode(part, numbers.get(part.task, 0)) for part in asked]
    answered = zip(asked, rows, _texts(backbone, encoder, asked, rows, bank), strict=True)
    return [
        _joined(cards[example.task], example, parts, list(islice(answered, len(parts.examples))))
        for example, parts in zip(examples, split, strict=True)
    ]


def _unanswered(example: Example) -> Example:
    """Return an example whose record tells nothing of its answer, so that no cut can."""
    return replace(example, record=replace(example.record, answer=None), target=None)


def _joined(
    card: TaskCard, example: Example, parts: Parts, answered: Sequence[tuple[Example, Row, str]]
) -> Prediction:
    answers = [parse_answer(card, part.record, text) for part, _, text in answered]
    return Prediction(
        example,
        parts.join(answers),
        "\n".join(text for _, _, text in answered),
        any(row.input_was_cut for _, row, _ in answered),
    )


def _texts(
    backbone: Backbone,
    encoder: Encoder,
    examples: Sequence[Example],
    rows: Sequence[Row],
    bank: Bank,
) -> list[str]:
    """Return what the model answers to each row, in order."""
    texts = [""] * len(rows)
    for is_closed in (True, False):
        wanted = [i for i, example in enumerate(examples) if bool(example.choices) == is_closed]
        inputs = [rows[i] for i in wanted]
        answer = _choose if is_closed else _write
        overhead = SCORING_OVERHEAD if is_closed else WRITING_OVERHEAD
        for group in _groups(inputs, bank, overhead):
            own_rows = [inputs[g] for g in group]
            own_examples = [examples[wanted[g]] for g in group]
            found = answer(backbone, encoder, own_rows, own_examples, bank)
            for g, text in zip(group, found, strict=True):
                texts[wanted[g]] = text
    return texts


def _groups(rows: Sequence[Row], bank: Bank, overhead: int) -> list[list[int]]:
    """Group row numbers for one pass each; behind a note that tasks share, with each other."""
    if bank.suffix is None:
        return micro_batches(rows, max_tokens=TOKENS_AT_ONCE, overhead=overhead)
    groups: list[list[int]] = []
    lone: list[int] = []
    for found in alike(rows, least=SHARED_TOKENS):
        if len(found) == 1:
            lone += found
        else:
            groups += [
                found[at : at + ROWS_OF_A_NOTE] for at in range(0, len(found), ROWS_OF_A_NOTE)
            ]
    rest = micro_batches([rows[n] for n in lone], max_tokens=TOKENS_AT_ONCE, overhead=overhead)
    return groups + [[lone[place] for place in group] for group in rest]


def _choose(
    backbone: Backbone,
    encoder: Encoder,
    rows: Sequence[Row],
    examples: Sequence[Example],
    bank: Bank,
) -> list[str]:
    choices = [
        distinct_choices(
            [encoder.encode_target(choice) for choice in example.choices], end_id=encoder.end_id
        )
        for example in examples
    ]
    scores = score_choices(backbone, rows, choices, bank)
    return [
        example.choices[own.index(max(own))] for example, own in zip(examples, scores, strict=True)
    ]


def _write(
    backbone: Backbone,
    encoder: Encoder,
    rows: Sequence[Row],
    examples: Sequence[Example],
    bank: Bank,
) -> list[str]:
    limits = [encoder.target_limit(example.task) for example in examples]
    written = generate(backbone, rows, bank, limits=limits, end_id=encoder.end_id)
    return [encoder.decode(ids) for ids in written]
