"""Answer in text: greedy decoding and label scoring under prompts. Knows nothing of tasks.

Axes: B rows, T text tokens, C choices of a row, H hidden size, V vocabulary.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, read_inputs
from clinprompt.backbone.incremental import IncrementalDecoder
from clinprompt.backbone.layers import key_value_shape
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.shared_prefix import Prefix, logits_of, read_text
from clinprompt.batches.encode import (
    Row,
    collate,
    group_by_common_start,
    group_within_limit,
    micro_batches,
)

MIN_CACHED_POSITIONS = 8192  # of prompts, inputs and answers: keys and values of as many are kept
_ON_GPU = 8  # times as many, as a step costs the same for many rows; fewer if memory is small
_SHARE_OF_MEMORY = 0.06  # of a GPU, for keys and values
SCORING_OVERHEAD = 32  # positions that one more group costs: a pass of its own
WRITING_OVERHEAD = 1000  # ... or as many passes as it writes tokens
_SHARED_TOKENS = 32  # with as many in common, rows are read together where that saves reading
_NOTE_AND_TASKS = 2  # times as many, as most of them are the note's, read once
_LEAST_USED = 0.75  # of the rows at work; below it, finished ones leave


@torch.inference_mode()
def generate(
    backbone: Backbone,
    rows: Sequence[Row],
    bank: Bank,
    *,
    limits: Sequence[int],
    end_ids: Collection[int],
) -> list[tuple[int, ...]]:
    """Return greedily chosen ids for each row, up to any of ``end_ids``; finished rows leave early.

    Any number of rows: they are read and written group by group. ``limits`` are the most ids of
    each row, at least one. ``bank`` holds the prompts of all tasks; a row picks its own by
    ``row.task``.
    """
    assert min(limits, default=1) > 0
    answers: list[tuple[int, ...]] = [()] * len(rows)
    for group in _groups(backbone, rows, bank, limits, WRITING_OVERHEAD):
        own = [limits[number] for number in group]
        written = _write(backbone, [rows[number] for number in group], bank, own, end_ids)
        for number, answer in zip(group, written, strict=True):
            answers[number] = answer
    return answers


def _write(
    backbone: Backbone,
    rows: Sequence[Row],
    bank: Bank,
    limits: Sequence[int],
    end_ids: Collection[int],
) -> list[tuple[int, ...]]:
    hidden, past = read_inputs(backbone.model, rows, bank)
    decoder = IncrementalDecoder(backbone.model, past, room=max(limits))
    answers: list[list[int]] = [[] for _ in rows]
    numbers = torch.arange(len(rows), device=backbone.device)
    left = torch.tensor(limits, device=backbone.device)
    ends = torch.tensor(sorted(end_ids), device=backbone.device)
    while True:
        chosen = logits_of(backbone.model, hidden).argmax(dim=-1)
        is_answer = ~torch.isin(chosen, ends) & (left > 0)
        for number, token in zip(
            numbers[is_answer].tolist(), chosen[is_answer].tolist(), strict=True
        ):
            answers[number].append(token)
        left = torch.where(is_answer, left - 1, 0)
        num_waiting = int((left > 0).sum())
        if num_waiting == 0:
            break
        if num_waiting <= _LEAST_USED * len(left):
            kept = torch.nonzero(left > 0).squeeze(1)
            decoder.keep_rows(kept)
            numbers, chosen, left = numbers[kept], chosen[kept], left[kept]
        hidden = decoder.step(chosen)
    return [tuple(answer) for answer in answers]


@torch.inference_mode()
def score_choices(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    bank: Bank,
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each row, in nats, inputs being read once.

    Any number of rows, as in ``generate``.

    Choices are token ids without end token, except where one would be the beginning of another
    (see ``distinct_choices``).
    """
    scores: list[list[float]] = [[] for _ in rows]
    for group in _groups(backbone, rows, bank, [0] * len(rows), SCORING_OVERHEAD):
        own = [choices[number] for number in group]
        found = _score(backbone, [rows[number] for number in group], own, bank)
        for number, values in zip(group, found, strict=True):
            scores[number] = values
    return scores


def _score(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    bank: Bank,
) -> list[list[float]]:
    hidden, past = read_inputs(backbone.model, rows, bank)
    first = torch.log_softmax(logits_of(backbone.model, hidden), dim=-1)
    pairs = [(row, ids) for row, own in enumerate(choices) for ids in own]
    scores = torch.stack([first[row, ids[0]] for row, ids in pairs])
    longer = [index for index, (_, ids) in enumerate(pairs) if len(ids) > 1]
    sizes = [past.positions.shape[1] + len(pairs[index][1]) for index in longer]
    for part in group_within_limit(sizes, max_tokens=_positions_at_once(backbone)):
        chosen = [longer[place] for place in part]
        scores[chosen] += _score_rest(backbone, [pairs[index] for index in chosen], past)
    values = iter(scores.tolist())
    return [[next(values) for _ in own] for own in choices]


def _groups(
    backbone: Backbone, rows: Sequence[Row], bank: Bank, room: Sequence[int], overhead: int
) -> list[list[int]]:
    """Group row numbers for one pass each; those of a note that tasks share, with each other.

    ``room`` is how many positions may follow each row.
    """
    sizes = [
        len(row.input_ids) + bank.num_positions + own for row, own in zip(rows, room, strict=True)
    ]

    def at_once(numbers: Sequence[int], max_tokens: int) -> list[list[int]]:
        groups = group_within_limit([sizes[number] for number in numbers], max_tokens=max_tokens)
        return [[numbers[place] for place in group] for group in groups]

    most = _positions_at_once(backbone)
    groups: list[list[int]] = []
    lone = list(range(len(rows)))
    if bank.suffix is not None:
        alikes = group_by_common_start(rows, min_tokens=_SHARED_TOKENS)
        lone = [number for found in alikes if len(found) == 1 for number in found]
        several = (found for found in alikes if len(found) > 1)
        groups = [part for found in several for part in at_once(found, _NOTE_AND_TASKS * most)]
    if is_packable(backbone.model):
        lone.sort(key=lambda number: -len(rows[number]))
        return groups + at_once(lone, most)
    others = [rows[number] for number in lone]
    places = micro_batches(others, max_tokens=most, overhead=overhead)
    return groups + [[lone[place] for place in group] for group in places]


def _positions_at_once(backbone: Backbone) -> int:
    """Return how many positions of prompts, inputs and answers are kept at a time, at most."""
    if backbone.device.type != "cuda" or not is_packable(backbone.model):
        return MIN_CACHED_POSITIONS
    num_layers, num_heads, head_size = key_value_shape(backbone.model)
    each = 2 * num_layers * num_heads * head_size * backbone.model.dtype.itemsize
    return _fitting(torch.cuda.get_device_properties(backbone.device).total_memory, each)


def _fitting(memory: int, each: int) -> int:
    """Return how many positions go into a GPU's memory, of so many bytes each.

    That is the same whatever else is there: other groups would round otherwise.
    """
    fitting = int(_SHARE_OF_MEMORY * memory / each)
    return max(MIN_CACHED_POSITIONS, min(fitting, _ON_GPU * MIN_CACHED_POSITIONS))


def distinct_choices(
    choices: Sequence[tuple[int, ...]], *, end_id: int
) -> tuple[tuple[int, ...], ...]:
    """Return choices (each ending in ``end_id``) without it unless one is the start of another."""
    bare = tuple(ids[:-1] if ids[-1] == end_id else ids for ids in choices)
    clash = any(a != b and b[: len(a)] == a for a in bare for b in bare)
    return tuple(choices) if clash else bare


def _score_rest(
    backbone: Backbone, pairs: Sequence[tuple[int, tuple[int, ...]]], past: Prefix
) -> Tensor:
    """Return the log-likelihood of all tokens but the first of each (row, choice)."""
    rests = [Row(task=0, input_ids=ids[:1], target_ids=ids[1:]) for _, ids in pairs]
    batch = collate(rests, pad_id=backbone.pad_id).to(backbone.device)
    own_past = past.select(torch.tensor([row for row, _ in pairs], device=backbone.device))
    hidden, _ = read_text(backbone.model, batch.input_ids, batch.attention_mask, own_past)
    log_probabilities = torch.log_softmax(logits_of(backbone.model, hidden[:, :-1]), dim=-1)
    labels = batch.labels[:, 1:]
    picked = log_probabilities.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
    return (picked * (labels >= 0)).sum(dim=1)
