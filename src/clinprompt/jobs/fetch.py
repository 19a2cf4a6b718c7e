"""Fetch the data of tasks into the cache, or for a mirror. Knows nothing of models."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from clinprompt.errors import DataError, SettingError, did_you_mean
from clinprompt.tasks.card import TaskCard, catalog, find_card
from clinprompt.tasks.fetch.task_files import (
    DownloadSource,
    data_cache,
    fetch_files,
    is_public,
    missing_files,
)
from clinprompt.tasks.readers import PracticeReader
from clinprompt.tasks.suite import find_suite

ALL = "all"
_NEEDS_CONSENT = ("non-commercial", "unstated")


def choose_cards(names: Sequence[str], suite: str = "") -> tuple[TaskCard, ...]:
    """Return the cards of the named tasks and of a suite that have data to fetch.

    Raises:
        SettingError: a task is unknown or a user's own task, or no task has data to fetch.
    """
    found = find_suite(suite) if suite else None
    chosen = (*names, *found.sources, *found.targets) if found else tuple(names)
    cards = tuple(map(find_card, dict.fromkeys(chosen)))
    for card in cards:
        if card.path not in catalog().values():
            raise SettingError(
                f"{card.name}: nothing to fetch; its records are in the folder of its card"
            )
    with_data = tuple(card for card in cards if not isinstance(card.reader, PracticeReader))
    if not with_data:
        raise SettingError("nothing to fetch; name a task or a suite whose data is not synthetic")
    return with_data


def fetch_cards(
    cards: Sequence[TaskCard],
    route: DownloadSource,
    *,
    folder: Path | None = None,
    accepted: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Fetch the missing data of each task, and return one line for each data set.

    The data goes below ``folder``, by default into the cache, where tasks find it. A data set whose
    license forbids commercial use or is not stated must be ``accepted`` by name. Data sets that are
    not public are reported first, before anything is fetched.

    Raises:
        SettingError: a license has to be accepted first.
        DataError: the data of some tasks cannot be fetched; all other data is fetched first.
        RunError: the network is down or the disk is full.
    """
    sets: dict[str, list[TaskCard]] = {}
    for card in cards:
        sets.setdefault(card.data_folder, []).append(card)
    place = folder or data_cache()
    _check_accepted(sets, place, accepted)
    rows, problems = [], []
    some_public = any(is_public(users[0]) for users in sets.values())
    for name in sorted(sets, key=lambda name: is_public(sets[name][0])):
        users = sets[name]
        source = users[0].source
        terms = f"license {source.license} (use: {source.license_allows})"
        route.progress.say(f"{name}: {terms}; {source.repository}")
        try:
            fetched = [file for card in users for file in _fetch_card(card, place / name, route)]
        except DataError as error:
            if some_public and not is_public(users[0]):
                route.progress.say(str(error))  # now, as what follows may take long or fail
            problems.append(str(error))
            continue
        row = {"data": name, "license": source.license, "allows": source.license_allows}
        rows.append({**row, "fetched": len(fetched), "folder": str(place / name)})
    if problems:
        raise DataError(f"{len(problems)} of {len(sets)} not fetched: {'; and '.join(problems)}")
    return rows


def _check_accepted(
    sets: Mapping[str, Sequence[TaskCard]], place: Path, accepted: Collection[str]
) -> None:
    if unknown := sorted(set(accepted) - {ALL, *sets}):
        raise SettingError(
            f"--accept-license {unknown[0]}: no data set to fetch; {did_you_mean(unknown[0], sets)}"
        )
    refused = [
        f"{name} ({cards[0].source.license}, {cards[0].source.repository})"
        for name, cards in sets.items()
        if not {ALL, name} & set(accepted)
        and any(_needs_consent(card, place / name) for card in cards)
    ]
    if refused:
        raise SettingError(
            "no commercial use, or no license stated:\n- "
            + "\n- ".join(refused)
            + "\nread the terms "
            f"there, then repeat with --accept-license NAME for each, or --accept-license {ALL}"
        )


def _needs_consent(card: TaskCard, folder: Path) -> bool:
    is_bound = card.source.license_allows in _NEEDS_CONSENT
    return is_bound and is_public(card) and bool(missing_files(card, folder))


def _fetch_card(card: TaskCard, folder: Path, route: DownloadSource) -> tuple[str, ...]:
    if is_public(card):
        return fetch_files(card, folder, route)
    source = card.source
    missing = [path for path in source.paths if not (folder / path).exists()]
    if missing or not folder.is_dir():
        access = source.access or f"ask for it at {source.repository} ({source.license})"
        what = ", ".join(missing) or "it"
        raise DataError(f"{card.name}: not public; {access}, and put {what} into {folder}")
    return ()
