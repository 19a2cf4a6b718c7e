"""Choose how many records move to the splits that a user's data has no files for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from clinprompt.errors import DataError, SettingError, number_of, option
from clinprompt.tasks.card_parts import SPLITS, Resplit, Split
from clinprompt.tasks.draft.own_files import OwnFiles
from clinprompt.tasks.load import Splits, TaskData, move_groups
from clinprompt.tasks.records import Record, RelationsAnswer, SpansAnswer

FEW_TEST = 20  # records
_SHARE = 0.1  # of the groups, for validation and for large data
_ENOUGH_TEST = 50  # records, if that is at most the following share
_LARGE_SHARE = 0.3
_LARGEST_SHARE = 0.4  # if less gives few test records, and as messages propose
_MANY_TO_MOVE = 50  # records in all; with fewer, the largest share leaves too few for training
_LEAST_TO_MOVE = 30  # records in all; with fewer, training needs them
_NUM_SEEDS = 100  # tried for small data, where splits vary much with the seed
_SMALL = 1000  # records


def make_splits(
    place: Path, own: OwnFiles, splits: Splits, test_share: float | None = None
) -> Resplit | None:
    """Return how to make the missing splits so that none is empty, or None if none is missing.

    A tenth of the groups moves to validation. ``test_share`` moves to the test split; without it, a
    tenth too, but more of fewer than 500 records, because few test records give no useful score.
    Records whose answer lists nothing are spread evenly.

    Raises:
        SettingError: ``test_share`` is no share, or the data has a file for the test split.
        DataError: there are too few records or groups.
    """
    missing = tuple(split for split in SPLITS if not own.files.get(split))
    if test_share is not None:
        _check_share(test_share, missing)
    if not missing:
        return None
    num_records = len(splits["train"])
    shares = dict.fromkeys(missing, _SHARE)
    if "test" in missing:
        shares["test"] = test_share or _usual_test_share(num_records)
    tries = [
        Resplit.model_validate(shares | {"seed": seed})
        for seed in range(_NUM_SEEDS if num_records < _SMALL else 1)
    ]
    best = min(tries, key=lambda resplit: _unevenness(splits, resplit, shares))
    if all(move_groups(splits, best).values()):
        return best
    raise DataError(
        f"{place}: {number_of(num_records, 'record is', 'records are')} too few, or form too few "
        "groups, to be split into train, validation and test (records with the same text, or of "
        "one group, stay together); add more, or give files named train, dev and test"
    )


def _check_share(test_share: float, missing: tuple[Split, ...]) -> None:
    if "test" not in missing:
        raise SettingError(
            f"{option('test-share')} has no effect, because the data has files of the split test; "
            "leave it out, or remove these files"
        )
    largest = 1 - _SHARE
    if not 0 < test_share < largest:
        raise SettingError(
            f"{option('test-share')} is {test_share}; give a number between 0 and {largest}, such "
            f"as {_LARGE_SHARE}"
        )


def _usual_test_share(num_records: int) -> float:
    if num_records < _LEAST_TO_MOVE:
        return _SHARE
    share = max(_SHARE, min(_LARGE_SHARE, _ENOUGH_TEST / num_records))
    if num_records >= _MANY_TO_MOVE:
        least = 1.1 * FEW_TEST / num_records  # shares come out a little uneven
        share = max(share, min(_LARGEST_SHARE, least))
    return round(share, 2)


def _unevenness(splits: Splits, resplit: Resplit, shares: Mapping[Split, float]) -> float:
    """Return the largest difference, in records, of a made split from its share of the records.

    Records whose answer lists nothing are also counted by themselves.
    """
    made = move_groups(splits, resplit)
    if not all(made.values()):
        return float("inf")
    counts: tuple[Callable[[Sequence[Record]], int], ...] = (len, _num_of_nothing)
    return max(
        abs(count(made[split]) - share * count(splits["train"]))
        for count in counts
        for split, share in shares.items()
    )


def _num_of_nothing(records: Sequence[Record]) -> int:
    return sum(map(_lists_nothing, records))


def _lists_nothing(record: Record) -> bool:
    match record.answer:
        case SpansAnswer(spans):
            return not spans
        case RelationsAnswer(relations):
            return not relations
    return False


def how_to_change(made: Resplit) -> str:
    """Return how to move another number of records."""
    ways = f"change {' and '.join(made.made)} under [resplit] in the card"
    if "test" in made.made:
        ways = f"give {option('test-share')}, or {ways}"
    return f"other numbers of records: {ways}"


def more_test_records(made: Resplit | None, data: TaskData) -> Iterator[str]:
    """Yield how to move more records into a small test split, if the card makes it."""
    total = sum(map(len, data.splits.values()))
    if made is None or not 0 < made.test < _LARGEST_SHARE or total < _LEAST_TO_MOVE:
        return
    left = round(total * (1 - _LARGEST_SHARE - made.validation))
    yield (
        f"test: only {len(data.splits['test'])} records, too few to compare scores; set test = "
        f"{_LARGEST_SHARE} under [resplit] in the card for about {round(total * _LARGEST_SHARE)}, "
        f"which leaves about {left} for training"
    )
