"""Load the tasks of a suite, cut to size and cleaned of overlap. Knows nothing of models."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clinprompt.errors import DataError, SettingError, did_you_mean, number_of
from clinprompt.runs.packed_suite import has_packed, is_packed, load_packed
from clinprompt.settings.groups import DataSettings
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.audit.overlap import drop_copies_of_test, drop_overlapping
from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.fetch.task_files import data_cache
from clinprompt.tasks.load import TaskData, load_task
from clinprompt.tasks.suite import Suite, find_suite

MIRROR_VARIABLE = "CLINPROMPT_MIRROR"


@dataclass(frozen=True, slots=True)
class SuiteData:
    """The tasks of a suite.

    ``dropped`` counts source records that overlapped a target, ``copies`` the training records of a
    target that equal one of its test records. ``missing`` says what is missing from the suite.
    """

    name: str
    sources: tuple[TaskData, ...]
    targets: tuple[TaskData, ...]
    dropped: dict[str, int]
    copies: dict[str, int]
    missing: tuple[str, ...] = ()


def find_mirror(mirror: Path | None) -> Path | None:
    """Return the mirror: the given one, that of the environment, or `tasks fetch`'s cache."""
    named = os.environ.get(MIRROR_VARIABLE)
    if mirror or named:
        return mirror or Path(str(named))
    fetched = data_cache()
    return fetched if fetched.is_dir() else None


def find_packed(mirror: Path | None) -> Path | None:
    """Return the mirror if it is a folder of packed tasks, which may have encoded rows too."""
    found = find_mirror(mirror)
    return found if found and has_packed(found) else None


def cards_of(tasks: Sequence[str]) -> dict[str, TaskCard]:
    """Return the cards of a suite's tasks by name; a suite may name a task by its folder.

    Raises:
        SettingError: a task is unknown.
        DataError: a card is damaged.
    """
    return {card.name: card for card in map(find_card, tasks)}


def load_suite(
    name: str,
    settings: DataSettings,
    mirror: Path | None,
    *,
    with_sources: bool = True,
    targets: Sequence[str] | None = None,
) -> SuiteData:
    """Load every task of a suite, without training records that reveal test records of a target.

    Source records that share an n-gram with a record of any target of the suite are dropped, and
    so are training records of a target that equal one of its test records. Sources are not needed
    if nothing is distilled. A mirror may be a folder of packed tasks (see ``packed_suite``), which
    were cleaned before. ``targets`` names the targets that are returned; without sources,
    only these need to be on the disk.

    Raises:
        SettingError: the suite or a task in it is unknown.
        DataError: a file is missing, damaged or inconsistent.
    """
    suite = find_suite(name)
    if with_sources and not suite.sources:
        raise SettingError(
            f"suite {suite.name} has no sources, so no metaprompt can be distilled; add some, or "
            "set metaprompt = 'shipped' or the folder of a saved one"
        )
    place = find_mirror(mirror)
    cards = cards_of(suite.targets)
    wanted = cards if targets is None else targets
    if place and has_packed(place):
        if targets is None:  # those that were packed: a run that distills needs none
            wanted = [task for task in cards if is_packed(place, task)]
        known = suite.sources if with_sources else ()
        return _packed(suite, place, known, [cards[task] for task in wanted])
    sources = [load_task(find_card(task), place) for task in suite.sources if with_sources]
    unseen = {task: load_task(cards[task], place) for task in wanted}
    others = [load_task(cards[task], place) for task in cards if sources and task not in unseen]
    kept, dropped = drop_overlapping(sources, [*unseen.values(), *others], settings.overlap_words)
    cleaned = [drop_copies_of_test(data) for data in unseen.values()]
    copies = {data.card.name: count for data, count in cleaned}
    returned = tuple(data for data, _ in cleaned)
    return SuiteData(suite.name, kept, returned, dropped, copies, suite.missing)


def copies_left_out(count: int) -> str:
    """Return words on training records that were left out because they are test records too."""
    return f"{number_of(count, 'training record')} left out, with the text of a test record"


def _packed(
    suite: Suite, folder: Path, sources: Sequence[str], targets: Sequence[TaskCard]
) -> SuiteData:
    """Load packed tasks, which were cleaned when they were packed."""
    known = tuple(load_packed(folder, find_card(task)) for task in sources)
    unseen = tuple(load_packed(folder, card) for card in targets)
    return SuiteData(suite.name, known, unseen, {}, {}, suite.missing)


def load_apart(card: TaskCard, mirror: Path | None) -> TaskData:
    """Load one task, without training records that equal one of its test records.

    The mirror may be a folder of packed tasks.

    Raises:
        DataError: a file is missing, damaged or inconsistent.
    """
    place = find_mirror(mirror)
    if place and is_packed(place, card.name):  # cleaned when it was packed
        return load_packed(place, card)
    return drop_copies_of_test(load_task(card, place))[0]


def check_suite(suite: SuiteData, config: RunConfig, *, more_tasks: Sequence[str] = ()) -> None:
    """Check, before anything is trained, that a run over the suite can be completed.

    ``data.target_tokens`` may name any task of the suite, loaded or not, and ``more_tasks``.

    Raises:
        DataError: a task lacks training or test rows, or a row has no answer.
        SettingError: ``adapt.routing`` does not work for a target, or a setting names an unknown
            task.
    """
    whole = find_suite(config.suite)
    names = cards_of([*whole.sources, *whole.targets, *more_tasks])
    if unknown := sorted(set(config.data.target_tokens) - set(names)):
        raise SettingError(
            f"data.target_tokens: suite {suite.name} has no task {unknown[0]!r}; "
            f"{did_you_mean(unknown[0], names)}"
        )
    for data in suite.sources:
        _check_records(data, ("train",))
    for data in suite.targets:
        _check_records(data, ("train", "test"))
    types = {data.card.type for data in suite.sources}
    lone = [data.card for data in suite.targets if data.card.type not in types]
    if config.adapt.routing == "type" and suite.sources and lone:
        raise SettingError(
            f"adapt.routing = 'type', but no source of suite {suite.name} has the type of target "
            f"{lone[0].name} ({lone[0].type}); use 'all'"
        )


def _check_records(data: TaskData, splits: Sequence[Split]) -> None:
    for split in splits:
        records = data.splits[split]
        unanswered = sum(record.answer is None for record in records)
        if not records or unanswered:
            what = f"{number_of(unanswered, 'row')} without an answer" if unanswered else "no rows"
            why = f" ({copies_left_out(data.copies)})" if data.copies and split == "train" else ""
            raise DataError(
                f"{data.card.name}: split {split} has {what}{why}; correct the card or its files"
            )
