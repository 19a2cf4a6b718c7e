"""Draw the records of a task, make examples of them, and encode these. Keeps nothing."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.mixture import SPLIT_SEEDS, sample
from clinprompt.batches.parts import parts_of
from clinprompt.errors import DataError
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example, LabelAnswer, Record


def max_test_rows(settings: DataSettings, card: TaskCard) -> int:
    """Return how many test rows of a task are answered at most: more for closed labels, if set."""
    is_closed = kind_of(card).answer is LabelAnswer
    return (settings.test_label_rows if is_closed else 0) or settings.test_rows


def examples_of(data: TaskData, split: Split, *, limit: int, seed: int) -> tuple[Example, ...]:
    """Return at most ``limit`` examples of a split, drawn by ``seed``, with the usual instruction.

    Training examples for a model to learn from are made by ``training_example`` instead.
    """
    return tuple(
        make_example(data.card, record) for record in _drawn(data, split, limit=limit, seed=seed)
    )


def training_example(card: TaskCard, record: Record, *, seed: int) -> Example:
    """Return a training example, with one of the card's instructions, drawn by seed and record."""
    digest = hashlib.sha256(f"{seed} {card.name} {record.id}".encode()).digest()
    number = int.from_bytes(digest[:8]) % len(card.wording.instructions)
    return make_example(card, record, paraphrase=number)


def training_examples(data: TaskData, *, limit: int, seed: int) -> Iterator[Example]:
    """Yield at most ``limit`` training examples of a task; see ``training_example``."""
    for record in _drawn(data, "train", limit=limit, seed=seed):
        yield training_example(data.card, record, seed=seed)


def _drawn(data: TaskData, split: Split, *, limit: int, seed: int) -> Sequence[Record]:
    return sample(data.splits.get(split, ()), limit, seed=seed + SPLIT_SEEDS[split])


def encode_all(encoder: Encoder, card: TaskCard, examples: Iterable[Example]) -> tuple[Row, ...]:
    """Encode the examples of one task; an example that is too long may give several rows."""
    return tuple(row for _, row in encoded_parts(encoder, card, examples))


def encoded_parts(
    encoder: Encoder, card: TaskCard, examples: Iterable[Example]
) -> Iterator[tuple[Example, Row]]:
    """Yield the parts of the examples of one task with their rows, which carry their note."""
    encoder, notes = encoder.keeping_lengths(), dict[str, int]()
    for example in examples:
        for part in parts_of(card, example, encoder).examples:
            note = part.record.group or part.record.id
            yield part, replace(encoder.encode(part), note=notes.setdefault(note, len(notes)))


def training_rows(encoder: Encoder, data: TaskData, *, limit: int, seed: int) -> tuple[Row, ...]:
    """Return the encoded rows of at most ``limit`` training examples; a long one has several.

    Rows with too long an answer are left out. An answer is never cut: a model that is trained on
    cut answers learns not to stop. Rows of mentions or links are left out too if the model cannot
    see the whole input, so no answer lists what the model does not read.

    Raises:
        DataError: no row is left.
    """
    examples = training_examples(data, limit=limit, seed=seed)
    rows = encode_all(encoder, data.card, examples)
    return _with_whole_answers(data, encoder, rows)


def _with_whole_answers(data: TaskData, encoder: Encoder, rows: Sequence[Row]) -> tuple[Row, ...]:
    kept = tuple(row for row in rows if shows_its_answer(data.card, row))
    if not kept:
        raise DataError(
            f"{data.card.name}: no training row is left ({len(rows)} were read"
            + (f", {data.copies} left out as copies of test records" if data.copies else "")
            + "); it has none, all overlap a target, or no answer fits "
            f"{encoder.target_limit(data.card.name)} tokens; correct the card or its files, or "
            "raise data.max_target_tokens (for this task: data.target_tokens)"
        )
    return kept


def shows_its_answer(card: TaskCard, row: Row) -> bool:
    """Return whether a row has its whole answer, and the text of all annotations in it."""
    is_cut = row.input_was_cut and kind_of(card).listing is not None
    return not (row.target_was_cut or is_cut)
