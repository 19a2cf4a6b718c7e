"""Check the records of tasks: counts, overlap, answers that their text form loses, lengths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from clinprompt.backbone.load import load_tokenizer
from clinprompt.batches.encode import Encoder, make_encoder
from clinprompt.errors import ClinpromptError, SettingError
from clinprompt.jobs.planning.lengths import lengths_of, share
from clinprompt.runs.suite_data import find_mirror
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.audit.counts import balances, counts_of, mismatches
from clinprompt.tasks.audit.inside_words import inside_words
from clinprompt.tasks.audit.overlap import drop_copies_of_test, drop_overlapping
from clinprompt.tasks.audit.published import COUNTED
from clinprompt.tasks.audit.round_trip import RoundTrip, count_round_trip
from clinprompt.tasks.card import TaskCard, catalog, find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData, check_files, load_task, notes_of, remedy
from clinprompt.tasks.suite import find_suite

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Absent:
    """A task whose data are missing, and the message that says so."""

    card: TaskCard
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The findings: one line for each task that can be read; other tasks, by name.

    ``absent`` are tasks without data, ``errors`` why the others cannot be read.
    """

    rows: list[Row] = field(default_factory=list)
    absent: dict[str, Absent] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return everything that is wrong, one line each."""
        wrong = [f"{row['task']}: {problem}" for row in self.rows for problem in row["mismatch"]]
        unread = [_named(name, error) for name, error in self.errors.items()]
        return [*wrong, *self._missing(), *unread]

    def _missing(self) -> Iterator[str]:
        """Yield a message for each missing task, or for several tasks with the same remedy."""
        groups: dict[str, list[Absent]] = {}
        for absent in self.absent.values():
            key = remedy(absent.card) if absent.card.source.access else ""
            groups.setdefault(key, []).append(absent)
        for group in groups.values():
            cards = [absent.card for absent in group]
            if len(group) == 1:
                yield _named(cards[0].name, group[0].message)
            else:
                yield f"{', '.join(card.name for card in cards)}: not here; {remedy(*cards)}"


def _named(name: str, error: str) -> str:
    return error if error.startswith(f"{name}: ") else f"{name}: {error}"


def check_tasks(
    names: Sequence[str],
    *,
    suite: str,
    mirror: Path | None,
    backbone: str = "smollm2-135m",
) -> Checked:
    """Read tasks and return what was found about them.

    Each line has these values:

    - ``published`` compares the publisher's counts with the records that were read; ``left_out``
      and ``added`` say why they differ.
    - ``dropped`` is the number of rows of a source that share 13 words in a row with a target of
      the suite. Targets that cannot be read are not compared.
    - ``copies`` is the number of training rows that are left out because their text is that of a
      test row.
    - ``survive`` is the share of answers, and of mentions or links, that are unchanged after being
      written as text and read again.
    - ``tokens`` has the lengths of inputs and answers under the default settings, and how much is
      cut or left out because of them (see ``Lengths``).
    - ``notes`` say what is read differently from how it is written in the files.
    - ``mismatch`` lists what is wrong.

    Raises:
        SettingError: a suite is unknown, or nothing was named.
    """
    place, checked = find_mirror(mirror), Checked()
    loaded, kept, dropped = [*_load(names, place, checked)], list[TaskData](), dict[str, int]()
    if suite:
        found = find_suite(suite)
        sources = [*_load(found.sources, place, checked)]
        targets = [*_load(found.targets, place, checked)]
        cleaned, dropped = drop_overlapping(sources, targets)
        kept = [*loaded, *cleaned, *targets]
        loaded += [*sources, *targets]
    if not (loaded or checked.absent or checked.errors):
        raise SettingError(f"name a task or a suite to check; tasks: {', '.join(catalog())}")
    if not loaded:
        return checked
    encoder = make_encoder(load_tokenizer(backbone), DataSettings())
    for whole, trained in zip(loaded, kept or loaded, strict=True):
        name = whole.card.name
        try:
            checked.rows.append(_row(whole, trained, dropped.get(name), encoder))
            every = chain.from_iterable(whole.splits.values())
            checked.rows[-1]["notes"] = [*notes_of(whole.card, place), *inside_words(every)]
        except ClinpromptError as error:
            checked.errors[name] = str(error)
    return checked


def _load(names: Sequence[str], place: Path | None, checked: Checked) -> Iterator[TaskData]:
    for name in names:
        try:
            card = find_card(name)
            if message := _missing_data(card, place):
                checked.absent[name] = Absent(card, message)
            else:
                yield load_task(card, place)
        except ClinpromptError as error:
            checked.errors[name] = str(error)


def _missing_data(card: TaskCard, place: Path | None) -> str:
    """Return the message that says which files are missing, or nothing."""
    try:
        check_files(card, place)
    except ClinpromptError as error:
        return str(error)
    return ""


def _row(data: TaskData, trained: TaskData, dropped: int | None, encoder: Encoder) -> Row:
    card, counts = data.card, counts_of(data)
    round_trip = count_round_trip(
        card, (record for split in SPLITS for record in data.splits[split])
    )
    training = next(filter(None, (*trained.splits.values(), *data.splits.values())))
    return {
        "task": card.name,
        "type": card.type,
        "license": card.source.license,
        **{kind: {split: counts[split][kind] for split in SPLITS} for kind in COUNTED},
        "published": [
            {**balance.model_dump(), "is_even": balance.is_even}
            for balance in balances(card, counts)
        ],
        **_differences(card),
        "dropped": dropped,
        "copies": drop_copies_of_test(data)[1],
        "survive": _shares(card, round_trip),
        "tokens": lengths_of(card, training, encoder).as_row(),
        "mismatch": [*mismatches(card, counts), *_lost_answers(card, round_trip)],
    }


def _differences(card: TaskCard) -> Row:
    lists = card.published.model_dump(exclude_none=True) if card.published else {}
    return {name: list(lists.get(name, ())) for name in ("left_out", "added")}


def _shares(card: TaskCard, round_trip: RoundTrip) -> dict[str, float | None]:
    parts = share(round_trip.annotations_kept, round_trip.annotations)
    return {
        "rows": share(round_trip.rows_kept, round_trip.rows),
        "annotations": parts if kind_of(card).listing else None,
    }


def _lost_answers(card: TaskCard, round_trip: RoundTrip) -> Iterator[str]:
    """Report answers that their text form loses, for kinds where it must not lose any."""
    lost = round_trip.rows - round_trip.rows_kept
    if lost and kind_of(card).listing is None:
        yield (
            f"{lost} of {round_trip.rows} answers change when written as text and read, the first "
            f"in record {round_trip.first_lost}; correct the record's answer or the labels' words"
        )
