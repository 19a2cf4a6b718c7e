"""Count what a task holds, and hold it against what its card states. Knows no wording."""

from collections.abc import Mapping, Sequence

from clinprompt.tasks.audit.published import KINDS, Balance, Kind, Part
from clinprompt.tasks.card import SPLITS, Split, TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.records import LabelAnswer, Record, RelationsAnswer, SpansAnswer

Counts = Mapping[Kind, int]


def num_annotations(card: TaskCard, records: Sequence[Record]) -> int:
    """Return how much is annotated in records: mentions, links, positive rows, or else all rows.

    A row is positive where its label is one that the card names positive, or, of candidate pairs,
    not the one of unrelated pairs: so the number is that of the links, as publishers count them.
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
    """Say where counts are not those of the card, or not what it accounts for as published."""
    problems = [
        f"{split}: {counts[split][kind]} {kind}, but the card states {getattr(expected, kind)}"
        for split, expected in card.counts.items()
        for kind in KINDS
        if getattr(expected, kind) not in {None, counts[split][kind]}
    ]
    return problems + [str(balance) for balance in balances(card, counts) if not balance.is_even]


def balances(card: TaskCard, counts: Mapping[Split, Counts]) -> tuple[Balance, ...]:
    """Return each published number of the card with what was read of the same published split.

    What ``resplit`` moved is counted where it was published.
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
        part: {kind: sum(counts[split][kind] for split in splits) for kind in KINDS}
        for part, splits in published.items()
    }
    return tuple(card.published.balances(read))


def _negative(card: TaskCard) -> str | None:
    """Return the label of candidate pairs without a link, if rows are such pairs."""
    view = getattr(card.reader, "view", None)
    return view.negative if isinstance(view, View) and view.answer == "pairs" else None


def _count(card: TaskCard, record: Record, negative: str | None) -> int:
    match record.answer:
        case SpansAnswer(spans):
            return len(spans)
        case RelationsAnswer(relations):
            return len(relations)
        case LabelAnswer(label):
            return int(label in card.positive if card.positive else label != negative)
    return 1
