"""Count the records and annotations of a task and compare them with its card. Knows no wording."""

from collections.abc import Mapping, Sequence

from clinprompt.tasks.audit.published import COUNTED, Balance, Counted, Part
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.card_parts import SPLITS, Split
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.records import LabelAnswer, Record

Counts = Mapping[Counted, int]


def num_annotations(card: TaskCard, records: Sequence[Record]) -> int:
    """Return the number of annotations: mentions, links, positive records, or else all records.

    A record is positive if the card names its label positive. A candidate pair is also positive if
    it has a link, so their number is the number of links, which publishers state.
    """
    negative = _negative(card)
    return sum(_count(card, record, negative) for record in records)


def counts_of(data: TaskData) -> dict[Split, Counts]:
    """Return the rows and annotations of each split."""
    return {
        split: {
            "rows": len(data.splits[split]),
            "annotations": num_annotations(data.card, data.splits[split]),
        }
        for split in SPLITS
    }


def mismatches(card: TaskCard, counts: Mapping[Split, Counts]) -> list[str]:
    """Return a message for each count that differs from the card or its published numbers."""
    problems = [
        f"{split}: {counts[split][kind]} {kind}, but the card states {getattr(expected, kind)}"
        for split, expected in card.counts.items()
        for kind in COUNTED
        if getattr(expected, kind) not in {None, counts[split][kind]}
    ]
    return problems + [str(balance) for balance in balances(card, counts) if not balance.is_even]


def balances(card: TaskCard, counts: Mapping[Split, Counts]) -> tuple[Balance, ...]:
    """Return each published number of the card with the number that was read of that split.

    Records that ``resplit`` moved count in the split in which they were published.
    """
    if card.published is None:
        return ()
    published: dict[Part, list[Split]] = {
        "all": list(SPLITS),
        **{split: [split] for split in SPLITS},
    }
    if card.resplit:
        published[card.resplit.source] += card.resplit.made
    read: dict[Part, Counts] = {
        part: {kind: sum(counts[split][kind] for split in splits) for kind in COUNTED}
        for part, splits in published.items()
    }
    return tuple(card.published.balances(read))


def _negative(card: TaskCard) -> str | None:
    """Return the label of candidate pairs without a link, or None if records are no such pairs."""
    view = getattr(card.reader, "view", None)
    return view.negative if isinstance(view, View) and view.answer == "pairs" else None


def _count(card: TaskCard, record: Record, negative: str | None) -> int:
    listing = kind_of(card).listing
    if listing is not None:
        return len(listing.items(record.answer))
    if isinstance(record.answer, LabelAnswer):
        label = record.answer.label
        return int(label in card.positive if card.positive else label != negative)
    return 1
