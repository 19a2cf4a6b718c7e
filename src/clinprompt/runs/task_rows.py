"""The rows of tasks, each encoded once for a backbone. Owns the rows encoded so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from transformers import PreTrainedTokenizerBase

from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder, Row, make_encoder
from clinprompt.runs.candidates import Candidates, candidates, kind_of_candidates
from clinprompt.runs.encoded_rows import load_rows, rows_file, rows_hash, save_rows, tokenizer_hash
from clinprompt.runs.examples import (
    encode_all,
    examples_of,
    max_test_rows,
    shows_its_answer,
    training_examples,
    training_rows,
)
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example

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
    _candidates: dict[str, Candidates] = field(default_factory=dict)
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
        for example in training_examples(data, limit=limit, seed=self.seed):
            if has_row and encoder.surely_fits_context(example):
                continue
            rows = encode_all(encoder, data.card, [example])
            has_row = has_row or any(shows_its_answer(data.card, row) for row in rows)
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
            self._validation[name] = tuple(row for row in rows if shows_its_answer(data.card, row))
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

    def candidates(self, data: TaskData) -> Candidates:
        """Return the rows that the shots of a task are drawn from."""
        name = data.card.name
        if name not in self._candidates:
            known = self._known(data, "candidates", kind_of_candidates())
            self._candidates[name] = known or candidates(self.encoder(), data, seed=self.seed)
        return self._candidates[name]

    def pack(self, data: TaskData, *, is_source: bool) -> int:
        """Write the rows of a task to ``packed``; return the bytes of the file.

        These are the training rows of a source, and the rows that shots of a target are drawn from.
        """
        if is_source:
            return save_rows(self._file(data, "training"), self.training(data), _ROWS)
        found = self.candidates(data)
        return save_rows(self._file(data, "candidates"), found, kind_of_candidates())

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
