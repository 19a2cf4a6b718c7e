"""Group rows into batches: by padding, by a common start, or by a limit. Knows no padding id."""

from collections.abc import Sequence

from clinprompt.batches.encode import Row


def micro_batches(rows: Sequence[Row], *, max_tokens: int, overhead: int = 32) -> list[list[int]]:
    """Group row numbers, longest rows first, with the least total cost.

    The cost of a group is its number of tokens with padding, plus ``overhead`` tokens. No group has
    more than ``max_tokens`` tokens with padding; a longer row is a group by itself.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    best = [(0, 0)]  # for the first n rows: their cost, and the start of their last group
    for end in range(1, len(order) + 1):
        options: list[tuple[int, int]] = []
        for begin in range(end - 1, -1, -1):
            padded = len(rows[order[begin]]) * (end - begin)
            if padded > max_tokens and options:
                break
            options.append((best[begin][0] + padded + overhead, begin))
        best.append(min(options))
    groups: list[list[int]] = []
    end = len(order)
    while end:
        begin = best[end][1]
        groups.append(order[begin:end])
        end = begin
    return groups[::-1]


def group_by_common_start(rows: Sequence[Row], *, min_tokens: int) -> list[list[int]]:
    """Group row numbers by the first ``min_tokens`` tokens; a shorter row is a group by itself."""
    order = sorted(range(len(rows)), key=lambda number: rows[number].input_ids)
    groups: list[list[int]] = []
    for number in order:
        ids = rows[number].input_ids
        first = rows[groups[-1][0]].input_ids if groups else ()
        if len(ids) >= min_tokens and ids[:min_tokens] == first[:min_tokens]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def group_within_limit(sizes: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Group the numbers of rows in order, with at most ``max_tokens`` tokens in a group.

    ``sizes`` are the rows' lengths in tokens. A row longer than the limit is a group by itself.
    """
    groups: list[list[int]] = []
    space = 0
    for number, size in enumerate(sizes):
        if size > space or not groups:
            groups.append([])
            space = max_tokens
        groups[-1].append(number)
        space -= size
    return groups
