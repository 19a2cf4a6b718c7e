"""The rows of tasks, each encoded once for a backbone. Owns the rows encoded so far."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import TypeAdapter
from transformers import PreTrainedTokenizerBase

from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder, Row, make_encoder
from clinprompt.batches.mixture import SPLIT_SEEDS, draw_annotated, draw_shots, sample
from clinprompt.batches.parts import parts_of
from clinprompt.errors import DataError, number_of
from clinprompt.runs.encoded_rows import load_rows, rows_file, rows_hash, save_rows, tokenizer_hash
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import Split, TaskCard
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example, LabelAnswer, Record

Value = TypeVar("Value")
_ROWS = TypeAdapter(tuple[Row, ...])


@dataclass
class TaskRows:
    """The encoded rows of tasks; ``context`` is the maximum tokens of a row with its answer.

    ``packed`` is a folder that may have rows which were encoded before with the same tokenizer and
    settings; see ``pack``.
    """

    tokenizer: PreTrainedTokenizerBase
    context: int
    settings: DataSettings
    seed: int
    packed: Path | None = None
    _training: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _validation: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _candidates: dict[str, "Candidates"] = field(default_factory=dict)
    _tests: dict[str, tuple[Example, ...]] = field(default_factory=dict)

    def encoder(self, *, instructed: bool = False) -> Encoder:
        """Return the encoder; ``instructed`` is for input form 1 (see ``make_encoder``)."""
        return make_encoder(
            self.tokenizer, self.settings, context=self.context, instructed=instructed
        )

    def training(self, data: TaskData) -> tuple[Row, ...]:
        """Return the training rows of a task, at most ``data.train_rows``; see `training_rows`."""
        name, limit = data.card.name, self.settings.train_rows
        if name not in self._training:
            known = self._known(data, "training", _ROWS)
            self._training[name] = known or training_rows(
                self.encoder(), data, limit=limit, seed=self.seed
            )
        return self._training[name]

    def check(self, data: TaskData, *, is_source: bool) -> None:
        """Check all training records of a task, but encode only as many as this needs.

        Raises:
            DataError: a record lacks a field of the wording, or no row is left; see ``training``
                for a source, ``shots`` for a target.
            SettingError: an input is longer than the backbone supports.
        """
        limit = self.settings.train_rows if is_source else len(data.splits["train"])
        encoder, has_row = self.encoder().keeping_lengths(), False
        for example in _training_examples(data, limit=limit, seed=self.seed):
            if has_row and encoder.surely_fits_context(example):
                continue
            rows = encode_all(encoder, data.card, [example])
            has_row = has_row or any(_shows_its_answer(data.card, row) for row in rows)
        if has_row:
            return
        if is_source:
            self.training(data)
        else:
            self.shots(data, 1, seed=self.seed)

    def take_training(self, rows: Mapping[str, tuple[Row, ...]]) -> None:
        """Take training rows, by task, that other processes encoded with the same settings."""
        self._training.update(rows)

    def validation(self, data: TaskData, task: int = 0) -> tuple[Row, ...]:
        """Return the validation rows of a task, which carry the number ``task``."""
        name, limit = data.card.name, self.settings.validation_rows
        if name not in self._validation:
            examples = examples_of(data, "validation", limit=limit, seed=self.seed)
            rows = encode_all(self.encoder(), data.card, examples)
            self._validation[name] = tuple(row for row in rows if _shows_its_answer(data.card, row))
        return tuple(replace(row, task=task) for row in self._validation[name])

    def take_validation(self, rows: Mapping[str, tuple[Row, ...]]) -> None:
        """Take validation rows, by task, that other processes encoded with the same settings."""
        self._validation.update(rows)

    def test_examples(self, data: TaskData) -> tuple[Example, ...]:
        """Return the test examples of a task, not encoded; see ``data.test_rows`` for how many.

        Each call returns the same objects, so cells that are answered together encode them once.
        """
        name, limit = data.card.name, max_test_rows(self.settings, data.card)
        if name not in self._tests:
            self._tests[name] = examples_of(data, "test", limit=limit, seed=self.seed)
        return self._tests[name]

    def shots(self, data: TaskData, count: int, *, seed: int) -> tuple[Row, ...]:
        """Return ``count`` training rows of a task; see ``Candidates``."""
        return self.candidates(data).draw(count, seed=seed)

    def candidates(self, data: TaskData) -> "Candidates":
        """Return the rows that the shots of a task are drawn from."""
        name = data.card.name
        if name not in self._candidates:
            known = self._known(data, "candidates", _kind_of_candidates())
            self._candidates[name] = known or candidates(self.encoder(), data, seed=self.seed)
        return self._candidates[name]

    def pack(self, data: TaskData, *, is_source: bool) -> int:
        """Write the rows of a task to ``packed``; return the bytes of the file.

        These are the training rows of a source, and the rows that shots of a target are drawn from.
        """
        if is_source:
            return save_rows(self._file(data, "training"), self.training(data), _ROWS)
        found = self.candidates(data)
        return save_rows(self._file(data, "candidates"), found, _kind_of_candidates())

    def is_packed(self, data: TaskData, *, is_source: bool) -> bool:
        """Return whether ``packed`` has the rows of a task for these settings."""
        return self._file(data, "training" if is_source else "candidates").is_file()

    def _known(self, data: TaskData, what: str, kind: TypeAdapter[Value]) -> Value | None:
        return load_rows(self._file(data, what), kind) if self.packed else None

    def _file(self, data: TaskData, what: str) -> Path:
        assert self.packed is not None
        key = rows_hash(
            data,
            self.settings,
            tokenizer=self._tokenizer_hash,
            context=self.context,
            seed=self.seed,
        )
        return rows_file(self.packed, data.card.name, what, key)

    @cached_property
    def _tokenizer_hash(self) -> str:
        return tokenizer_hash(self.tokenizer)


def task_rows_of(config: RunConfig, backbone: Backbone, packed: Path | None = None) -> TaskRows:
    """Return the rows of tasks under these settings; rows are encoded when first needed."""
    context = backbone.context - config.prompt.length
    return TaskRows(backbone.tokenizer, context, config.data, config.seed, packed)


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


def _training_examples(data: TaskData, *, limit: int, seed: int) -> Iterator[Example]:
    for record in _drawn(data, "train", limit=limit, seed=seed):
        yield training_example(data.card, record, seed=seed)


def _drawn(data: TaskData, split: Split, *, limit: int, seed: int) -> Sequence[Record]:
    return sample(data.splits.get(split, ()), limit, seed=seed + SPLIT_SEEDS[split])


def encode_all(encoder: Encoder, card: TaskCard, examples: Iterable[Example]) -> tuple[Row, ...]:
    """Encode the examples of one task; an example that is too long may give several rows."""
    return tuple(row for _, row in _encoded(encoder, card, examples))


def _encoded(
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
    examples = _training_examples(data, limit=limit, seed=seed)
    rows = encode_all(encoder, data.card, examples)
    return _with_whole_answers(data, encoder, rows)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Training examples that may be drawn as shots, with their rows and labels ("": no label).

    ``types`` are the types of the mentions or links of each row; None if the task lists none.
    ``num_too_long`` rows have a longer answer than ``limit`` tokens, ``num_cut`` rows lost
    annotated text, and ``copies`` records have the text of a test record; none may be drawn.
    """

    name: str
    limit: int
    examples: tuple[Example, ...]
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    types: tuple[frozenset[str], ...] | None = None
    num_too_long: int = 0
    num_cut: int = 0
    copies: int = 0

    def draw(self, count: int, *, seed: int) -> tuple[Row, ...]:
        """Return ``count`` random rows; labels of a closed set are drawn equally often.

        Of rows that list mentions or links, at least three in four have one, and every type occurs
        if ``count`` allows it; see ``draw_annotated``.

        Raises:
            DataError: fewer than ``count`` rows have an answer that fits.
        """
        return tuple(self.rows[index] for index in self.choose(count, seed=seed))

    def records(self, count: int, *, seed: int) -> tuple[Record, ...]:
        """Return the records of the rows that ``draw`` returns, in random order.

        So if only the first of them can be shown, these are a random choice too.
        """
        chosen = np.random.default_rng(seed).permutation(self.choose(count, seed=seed))
        return tuple(self.examples[index].record for index in chosen)

    def only(self, rows: Sequence[int]) -> "Candidates":
        """Return the candidates with some of their rows."""
        return replace(
            self,
            examples=tuple(self.examples[index] for index in rows),
            rows=tuple(self.rows[index] for index in rows),
            labels=tuple(self.labels[index] for index in rows),
            types=None if self.types is None else tuple(self.types[index] for index in rows),
        )

    def choose(self, count: int, *, seed: int) -> tuple[int, ...]:
        """Return the numbers of the rows that ``draw`` returns, in ascending order.

        Raises:
            DataError: fewer than ``count`` rows have an answer that fits.
        """
        if len(self.rows) < count:
            raise DataError(
                f"{self.name}: {number_of(count, 'example')} wanted, but only "
                f"{number_of(len(self.rows), 'training row')} can be used; {_lost_rows(self)}"
            )
        if self.types is not None:
            return draw_annotated(self.types, count, seed=seed)
        return draw_shots(self.labels, count, seed=seed)


@cache
def _kind_of_candidates() -> TypeAdapter[Candidates]:
    return TypeAdapter(Candidates)


def candidates(encoder: Encoder, data: TaskData, *, seed: int) -> Candidates:
    """Return the rows that shots are drawn from: all training rows whose answer fits.

    A row is one input of the model: a whole note, or one window of a long note. The rows that
    ``training_rows`` leaves out are not among them.
    """
    every = _training_examples(data, limit=len(data.splits["train"]), seed=seed)
    encoded = tuple(_encoded(encoder, data.card, every))
    fitting = [pair for pair in encoded if _shows_its_answer(data.card, pair[1])]
    listing = kind_of(data.card).listing
    answers = [example.record.answer for example, _ in fitting]
    num_too_long = sum(row.target_was_cut for _, row in encoded)
    return Candidates(
        data.card.name,
        encoder.target_limit(data.card.name),
        tuple(example for example, _ in fitting),
        tuple(row for _, row in fitting),
        tuple(answer.label if isinstance(answer, LabelAnswer) else "" for answer in answers),
        tuple(frozenset(listing.types(answer)) for answer in answers) if listing else None,
        num_too_long,
        len(encoded) - len(fitting) - num_too_long,
        data.copies,
    )


def _lost_rows(found: Candidates) -> str:
    """Return why rows cannot be drawn, and what to do: for each cause, and for shots."""
    lost, remedies = [], ["ask for fewer" if found.rows else "add training records"]
    if found.copies:
        copies = number_of(found.copies, "training record has", "training records have")
        lost.append(f"{copies} the text of a test record")
        remedies.append("put equal texts into one split")
    if found.num_too_long:
        answers = number_of(found.num_too_long, "answer is", "answers are")
        lost.append(f"{answers} longer than {found.limit} tokens")
        remedies.append("raise data.max_target_tokens (for this task: data.target_tokens)")
    if found.num_cut:
        inputs = number_of(found.num_cut, "input loses", "inputs lose")
        lost.append(f"{inputs} annotated text by being cut")
        remedies.append("raise data.max_input_tokens")
    why = f"{' and '.join(lost)}: " if lost else ""
    return f"{why}{', or '.join(remedies)}"


def _with_whole_answers(data: TaskData, encoder: Encoder, rows: Sequence[Row]) -> tuple[Row, ...]:
    kept = tuple(row for row in rows if _shows_its_answer(data.card, row))
    if not kept:
        raise DataError(
            f"{data.card.name}: no training row is left ({len(rows)} were read"
            + (f", {data.copies} left out as copies of test records" if data.copies else "")
            + "); it has none, all overlap a target, or no answer fits "
            f"{encoder.target_limit(data.card.name)} tokens; correct the card or its files, or "
            "raise data.max_target_tokens (for this task: data.target_tokens)"
        )
    return kept


def _shows_its_answer(card: TaskCard, row: Row) -> bool:
    """Return whether a row has its whole answer, and the text of all annotations in it."""
    is_cut = row.input_was_cut and kind_of(card).listing is not None
    return not (row.target_was_cut or is_cut)
