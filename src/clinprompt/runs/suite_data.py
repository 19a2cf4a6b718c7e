"""Load the tasks of a suite, cut to size and cleaned of overlap. Knows nothing of models."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.mixture import draw_shots, sample
from clinprompt.batches.parts import parts_of
from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.audit.overlap import drop_copies_of_test, drop_overlapping
from clinprompt.tasks.card import Split, TaskCard, find_card
from clinprompt.tasks.fetch.task_files import data_cache
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import TaskData, load_task
from clinprompt.tasks.records import Example, LabelAnswer, Record
from clinprompt.tasks.suite import find_suite

MIRROR_VARIABLE = "CLINPROMPT_MIRROR"
_SPLIT_SEEDS: Mapping[Split, int] = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True, slots=True)
class SuiteData:
    """The tasks of a suite.

    ``dropped`` counts source rows that overlapped a target, ``copies`` the training rows of a
    target that were the same as one of its test rows. ``missing`` says what the suite lacks.
    """

    name: str
    sources: tuple[TaskData, ...]
    targets: tuple[TaskData, ...]
    dropped: dict[str, int]
    copies: dict[str, int]
    missing: tuple[str, ...] = ()


def find_mirror(mirror: Path | None) -> Path | None:
    """Return the mirror folder: given, named by the environment, or what ``tasks fetch`` filled."""
    named = os.environ.get(MIRROR_VARIABLE)
    if mirror or named:
        return mirror or Path(str(named))
    fetched = data_cache()
    return fetched if fetched.is_dir() else None


def cards_of(tasks: Sequence[str]) -> dict[str, TaskCard]:
    """Return the cards of a suite's tasks by name; a suite may name a task by its folder.

    Raises:
        SettingError: a task is unknown.
        DataError: a card is damaged.
    """
    return {card.name: card for card in map(find_card, tasks)}


def learned_suites(config: RunConfig) -> tuple[str, ...]:
    """Return the suites whose sources a comparison learns from: its own, or those of variants."""
    return tuple(dict.fromkeys(config.varied(name).suite for name in config.learning))


def load_suite(
    name: str,
    settings: DataSettings,
    mirror: Path | None,
    *,
    with_sources: bool = True,
    targets: Sequence[str] | None = None,
) -> SuiteData:
    """Load every task of a suite, without training rows that show what targets are tested on.

    Source rows that share an n-gram with a row of any of the suite's targets are dropped, and
    training rows of a target that are the same as one of its test rows. Sources are not needed
    where nothing is distilled. ``targets``, names, narrows those that are returned, and without
    sources those that must be there.

    Raises:
        SettingError: the suite or a task in it is unknown.
        DataError: a file is missing, damaged or inconsistent.
    """
    suite = find_suite(name)
    place = find_mirror(mirror)
    cards = cards_of(suite.targets)
    wanted = cards if targets is None else targets
    sources = [load_task(find_card(task), place) for task in suite.sources if with_sources]
    unseen = {task: load_task(cards[task], place) for task in wanted}
    others = [load_task(cards[task], place) for task in cards if sources and task not in unseen]
    kept, dropped = drop_overlapping(sources, [*unseen.values(), *others], settings.overlap_words)
    cleaned = [drop_copies_of_test(data) for data in unseen.values()]
    copies = {data.card.name: count for data, count in cleaned}
    returned = tuple(data for data, _ in cleaned)
    return SuiteData(suite.name, kept, returned, dropped, copies, suite.missing)


def load_apart(card: TaskCard, mirror: Path | None) -> TaskData:
    """Load one task, without training rows that show what it is tested on.

    Raises:
        DataError: a file is missing, damaged or inconsistent.
    """
    return drop_copies_of_test(load_task(card, find_mirror(mirror)))[0]


def check_suite(suite: SuiteData, config: RunConfig, *, beside: Sequence[str] = ()) -> None:
    """Check, before anything is trained, that a run over the suite can come to its end.

    Settings may name tasks of the suite that are not loaded, and those ``beside`` it.

    Raises:
        DataError: a task lacks training or test rows, or a row has no answer.
        SettingError: targets cannot be routed as ``adapt.routing`` says, or a setting names a task
            that is not there.
    """
    whole = find_suite(config.suite)
    names = cards_of([*whole.sources, *whole.targets, *beside])
    if unknown := sorted(set(config.data.target_tokens) - set(names)):
        raise SettingError(
            f"data.target_tokens: suite {suite.name} has no task {unknown[0]!r}; "
            f"{did_you_mean(unknown[0], names)}"
        )
    for data in suite.sources:
        _check_rows(data, ("train",))
    for data in suite.targets:
        _check_rows(data, ("train", "test"))
    types = {data.card.type for data in suite.sources}
    lone = [data.card for data in suite.targets if data.card.type not in types]
    if config.adapt.routing == "type" and suite.sources and lone:
        raise SettingError(
            f"adapt.routing = 'type', but no source of suite {suite.name} has the type of target "
            f"{lone[0].name} ({lone[0].type}); use 'all'"
        )


def _check_rows(data: TaskData, splits: Sequence[Split]) -> None:
    for split in splits:
        records = data.splits[split]
        unanswered = sum(record.answer is None for record in records)
        if not records or unanswered:
            what = f"{unanswered} rows without an answer" if unanswered else "no rows"
            raise DataError(
                f"{data.card.name}: split {split} has {what}; mend the card or its files"
            )


def examples_of(
    data: TaskData, split: Split, *, limit: int, seed: int, instruct: bool = False
) -> tuple[Example, ...]:
    """Return at most ``limit`` examples of a split, drawn by ``seed``."""
    records = sample(data.splits.get(split, ()), limit, seed=seed + _SPLIT_SEEDS[split])
    return tuple(make_example(data.card, record, instruct=instruct) for record in records)


def encode_all(
    encoder: Encoder, card: TaskCard, examples: Sequence[Example], task: int = 0
) -> tuple[Row, ...]:
    """Encode the examples of one task, those that are too long part by part."""
    return tuple(
        encoder.encode(part, task)
        for example in examples
        for part in parts_of(card, example, encoder).examples
    )


def training_rows(encoder: Encoder, data: TaskData, *, limit: int, seed: int) -> tuple[Row, ...]:
    """Return at most ``limit`` encoded training rows, without those whose answer is too long.

    An answer is never cut: a model taught on cut answers learns not to stop.

    Raises:
        DataError: no row is left.
    """
    examples = examples_of(data, "train", limit=limit, seed=seed)
    rows = encode_all(encoder, data.card, examples)
    return _with_whole_answers(data, encoder, rows)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Training examples that may be shots, encoded, with labels ("" where one has none)."""

    name: str
    limit: int
    examples: tuple[Example, ...]
    rows: tuple[Row, ...]
    labels: tuple[str, ...]

    def draw(self, count: int, *, seed: int) -> tuple[Row, ...]:
        """Return ``count`` rows: closed labels equally often, else simply at random.

        Raises:
            DataError: there are not so many whose answer fits.
        """
        return tuple(self.rows[index] for index in self._chosen(count, seed))

    def records(self, count: int, *, seed: int) -> tuple[Record, ...]:
        """Return the records of the rows that ``draw`` returns, in random order.

        So the first of them, where not all can be shown, are a fair draw as well.
        """
        chosen = np.random.default_rng(seed).permutation(self._chosen(count, seed))
        return tuple(self.examples[index].record for index in chosen)

    def _chosen(self, count: int, seed: int) -> tuple[int, ...]:
        if len(self.rows) < count:
            raise DataError(
                f"{self.name}: {count} examples wanted, but only {len(self.rows)} training rows "
                f"have an answer that fits {self.limit} tokens; ask for fewer, or raise "
                "data.max_target_tokens (for this task: data.target_tokens)"
            )
        return draw_shots(self.labels, count, seed=seed)


def candidates(encoder: Encoder, data: TaskData) -> Candidates:
    """Return what shots are drawn from: all training rows whose answer fits.

    A row is what the model reads at once: of a long note, one window.
    """
    whole = (make_example(data.card, record) for record in data.splits["train"])
    examples = (part for one in whole for part in parts_of(data.card, one, encoder).examples)
    encoded = ((example, encoder.encode(example)) for example in examples)
    fitting = [(example, row) for example, row in encoded if not row.target_was_cut]
    return Candidates(
        data.card.name,
        encoder.target_limit(data.card.name),
        tuple(example for example, _ in fitting),
        tuple(row for _, row in fitting),
        tuple(_label(example.record) for example, _ in fitting),
    )


def _with_whole_answers(data: TaskData, encoder: Encoder, rows: Sequence[Row]) -> tuple[Row, ...]:
    kept = tuple(row for row in rows if not row.target_was_cut)
    if not kept:
        raise DataError(
            f"{data.card.name}: no training row is left ({len(rows)} were read); it has none, all "
            f"overlap a target, or no answer fits {encoder.target_limit(data.card.name)} tokens; "
            "raise data.max_target_tokens (for this task: data.target_tokens)"
        )
    return kept


def _label(record: Record) -> str:
    return record.answer.label if isinstance(record.answer, LabelAnswer) else ""
