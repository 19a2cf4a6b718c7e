"""Generate answers greedily and score labels, with prompts. Knows nothing of tasks.

Each function submits all rows to a ``Scheduler`` and waits until it has answered them.
"""

from collections.abc import Callable, Collection, Sequence

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.constraint import Constraint
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.scheduler import MIN_SHARED_TOKENS, Ask, Scheduler, Written
from clinprompt.batches.encode import Row
from clinprompt.batches.group_rows import group_by_common_start


def generate(
    backbone: Backbone,
    rows: Sequence[Row],
    bank: Bank,
    *,
    limits: Sequence[int],
    end_ids: Collection[int],
) -> list[tuple[int, ...]]:
    """Return greedily decoded ids for each row, as ``write`` does without constraints."""
    written = write(
        backbone, rows, bank, limits=limits, end_ids=end_ids, constraints=[None] * len(rows)
    )
    return [tuple(one.ids) for one in written]


def write(
    backbone: Backbone,
    rows: Sequence[Row],
    bank: Bank,
    *,
    limits: Sequence[int],
    end_ids: Collection[int],
    constraints: Sequence[Constraint | None],
) -> list[Written]:
    """Decode an answer for each row greedily, up to the first of ``end_ids``.

    The number of rows is not limited. ``limits`` has the maximum number of ids of each row, at
    least one. ``bank`` holds the prompts of all tasks; ``row.task`` is the index of a row's prompt.
    Constraints are changed: each has accepted its row's answer.
    """
    assert min(limits, default=1) > 0
    asks = [
        Ask(row, bank, limit=limit, end_ids=end_ids, constraint=constraint)
        for row, limit, constraint in zip(rows, limits, constraints, strict=True)
    ]
    answer_all(backbone, asks)
    return [ask.written for ask in asks]


def score_choices(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    bank: Bank,
    on_answer: Callable[[Ask], object] | None = None,
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each row, in nats.

    The model runs once on each input. The number of rows is not limited. Choices are token ids
    without end token, unless one would be the start of another (see ``distinct_choices``).
    ``on_answer`` is as in ``answer_all``.
    """
    asks = [Ask(row, bank, choices=own) for row, own in zip(rows, choices, strict=True)]
    answer_all(backbone, asks, on_answer)
    return [ask.scores for ask in asks]


def answer_all(
    backbone: Backbone, asks: Sequence[Ask], on_answer: Callable[[Ask], object] | None = None
) -> None:
    """Answer rows, in an order in which those that are read together waste least.

    ``on_answer`` is called with each row as soon as it is answered.
    """
    if not asks:
        return
    scheduler = Scheduler(backbone)
    for ask in _in_good_order(asks):
        scheduler.submit(ask)
    while not scheduler.is_idle:
        for ask in scheduler.step():
            if on_answer is not None:
                on_answer(ask)


def distinct_choices(
    choices: Sequence[tuple[int, ...]], *, end_id: int
) -> tuple[tuple[int, ...], ...]:
    """Remove ``end_id`` from the end of all choices, unless one would be the start of another."""
    shortened = tuple(ids[:-1] if ids[-1] == end_id else ids for ids in choices)
    is_ambiguous = any(a != b and b[: len(a)] == a for a in shortened for b in shortened)
    return tuple(choices) if is_ambiguous else shortened


def _in_good_order(asks: Sequence[Ask]) -> list[Ask]:
    """Return rows by length, the longest first, but rows after one note side by side."""
    longest_first = sorted(asks, key=lambda ask: -ask.need)
    if all(ask.bank.suffix is None for ask in asks):
        return longest_first
    rows = [ask.row for ask in longest_first]
    groups = group_by_common_start(rows, min_tokens=MIN_SHARED_TOKENS)
    return [longest_first[number] for group in sorted(groups, key=min) for number in group]
