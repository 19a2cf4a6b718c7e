"""Generate answers greedily and score labels, with prompts. Knows nothing of tasks.

Logits are computed in float32, whatever the model's dtype. A row may have a constraint, which says
which tokens may come next.

Axes: B rows, T text tokens, C choices of a row, H hidden size, V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from clinprompt.backbone.bank import Bank, read_inputs
from clinprompt.backbone.constraint import Constraint, Constraints
from clinprompt.backbone.incremental import IncrementalDecoder
from clinprompt.backbone.layers import key_value_shape
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.packed import is_packable
from clinprompt.backbone.shared_prefix import Prefix, float32_head, read_text
from clinprompt.batches.encode import (
    Row,
    collate,
    group_by_common_start,
    group_within_limit,
    micro_batches,
)

Result = TypeVar("Result")
Head = Callable[[Tensor], Tensor]

# The limit on positions (of prompts, inputs and answers) in the KV cache at a time:
MIN_CACHED_POSITIONS = 8192
_GPU_FACTOR = 16  # up to this many times more on a GPU, where a step costs the same for many rows
_CACHE_SHARE_OF_GPU_MEMORY = 0.06
_SHARED_START_FACTOR = 2  # times more for rows with a shared start, which is stored once
# What one more group costs, in positions:
_SCORING_OVERHEAD = 32  # for one pass
_GENERATION_OVERHEAD = 1000  # for one pass for each generated token
_MIN_SHARED_TOKENS = 32  # rows with such a shared start are grouped (suffix prompts only)
MIN_ACTIVE_SHARE = 0.75  # if the share of unfinished rows is at most this, finished rows leave


@dataclass(slots=True)
class Written:
    """The ids of an answer and the log-probability of each, in nats, among the allowed tokens.

    ``end_log_probability`` is that of the token that ended the answer; 0 if it reached its limit.
    """

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    end_log_probability: float = 0.0


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


@torch.inference_mode()
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

    The number of rows is not limited: they are decoded group by group. ``limits`` has the maximum
    number of ids of each row, at least one. ``bank`` holds the prompts of all tasks; ``row.task``
    is the index of a row's prompt. Constraints are changed: each has accepted its row's answer.
    """
    assert min(limits, default=1) > 0
    head = float32_head(backbone.model)

    def answer(group: list[int]) -> list[Written]:
        limited = [(rows[number], limits[number], constraints[number]) for number in group]
        return _write_group(backbone, limited, bank, end_ids=end_ids, head=head)

    return _by_group(_groups(backbone, rows, bank, limits, _GENERATION_OVERHEAD), answer)


def _write_group(
    backbone: Backbone,
    limited: Sequence[tuple[Row, int, Constraint | None]],
    bank: Bank,
    *,
    end_ids: Collection[int],
    head: Head,
) -> list[Written]:
    """Decode rows, each with its limit, in one batch; finished rows leave it early."""
    rows, limits, constraints = zip(*limited, strict=True)
    hidden, past = read_inputs(backbone.model, rows, bank)
    decoder = IncrementalDecoder(backbone.model, past, max_new_tokens=max(limits))
    with Constraints(constraints) as rules:
        return _write_rows(decoder, head, hidden, limits, rules, end_ids)


def _write_rows(
    decoder: IncrementalDecoder,
    head: Head,
    hidden: Tensor,
    limits: Sequence[int],
    rules: Constraints,
    end_ids: Collection[int],
) -> list[Written]:
    """Decode from the hidden states [B, H] that predict the first token of each row."""
    answers = [Written() for _ in limits]
    numbers = torch.arange(len(limits), device=hidden.device)
    left = torch.tensor(limits, device=hidden.device)
    ends = torch.tensor(sorted(end_ids), device=hidden.device)
    while True:
        active = torch.nonzero(left > 0).squeeze(1)
        places = zip(active.tolist(), numbers[active].tolist(), strict=True)
        logits = rules.forbid(head(hidden), tuple(places))
        chosen = logits.argmax(dim=-1)
        picked = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
        is_end = torch.isin(chosen, ends) & (left > 0)
        for number, log_probability in zip(
            numbers[is_end].tolist(), picked[is_end].tolist(), strict=True
        ):
            answers[number].end_log_probability = log_probability
        is_answer = ~is_end & (left > 0)
        new = [part[is_answer].tolist() for part in (numbers, chosen, picked)]
        for number, token, log_probability in zip(*new, strict=True):
            answers[number].ids.append(token)
            answers[number].log_probabilities.append(log_probability)
        rules.accept(tuple(zip(*new[:2], strict=True)))
        left = torch.where(is_answer, left - 1, 0)
        num_active = int((left > 0).sum())
        if num_active == 0:
            return answers
        if num_active <= MIN_ACTIVE_SHARE * len(left):
            kept = torch.nonzero(left > 0).squeeze(1)
            decoder.keep_rows(kept)
            numbers, chosen, left = numbers[kept], chosen[kept], left[kept]
        hidden = decoder.step(chosen)


@torch.inference_mode()
def score_choices(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    bank: Bank,
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each row, in nats.

    The model runs once on each input. The number of rows is not limited, as in ``generate``.
    Choices are token ids without end token, unless one would be the start of another (see
    ``distinct_choices``).
    """
    head = float32_head(backbone.model)

    def score(group: list[int]) -> list[list[float]]:
        own_choices = [choices[number] for number in group]
        return _score_group(backbone, [rows[number] for number in group], own_choices, bank, head)

    limits = [0] * len(rows)
    return _by_group(_groups(backbone, rows, bank, limits, _SCORING_OVERHEAD), score)


def _score_group(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    bank: Bank,
    head: Head,
) -> list[list[float]]:
    """Score the choices of rows whose inputs fit into one batch."""
    hidden, past = read_inputs(backbone.model, rows, bank)
    first = torch.log_softmax(head(hidden), dim=-1)
    pairs = [(row, ids) for row, own in enumerate(choices) for ids in own]
    scores = torch.stack([first[row, ids[0]] for row, ids in pairs])
    longer = [index for index, (_, ids) in enumerate(pairs) if len(ids) > 1]
    sizes = [past.positions.shape[1] + len(pairs[index][1]) for index in longer]
    for part in group_within_limit(sizes, max_tokens=_max_cached_positions(backbone)):
        chosen = [longer[place] for place in part]
        scores[chosen] += _score_rest(backbone, [pairs[index] for index in chosen], past, head)
    values = iter(scores.tolist())
    return [[next(values) for _ in own] for own in choices]


def _groups(
    backbone: Backbone, rows: Sequence[Row], bank: Bank, limits: Sequence[int], overhead: int
) -> list[list[int]]:
    """Group row numbers for one pass each.

    With suffix prompts, rows with a shared start are grouped separately, so the start is computed
    once. ``limits`` are the numbers of positions that may follow the rows.
    """
    sizes = [
        len(row.input_ids) + bank.num_positions + limit
        for row, limit in zip(rows, limits, strict=True)
    ]

    def divide(numbers: Sequence[int], max_tokens: int) -> list[list[int]]:
        groups = group_within_limit([sizes[number] for number in numbers], max_tokens=max_tokens)
        return [[numbers[place] for place in group] for group in groups]

    limit = _max_cached_positions(backbone)
    groups: list[list[int]] = []
    single = list(range(len(rows)))
    if bank.suffix is not None:
        by_start = group_by_common_start(rows, min_tokens=_MIN_SHARED_TOKENS)
        single = [number for found in by_start if len(found) == 1 for number in found]
        several = (found for found in by_start if len(found) > 1)
        groups = [part for found in several for part in divide(found, _SHARED_START_FACTOR * limit)]
    if is_packable(backbone.model):
        single.sort(key=lambda number: -len(rows[number]))
        return groups + divide(single, limit)
    others = [rows[number] for number in single]
    places = micro_batches(others, max_tokens=limit, overhead=overhead)
    return groups + [[single[place] for place in group] for group in places]


def _by_group(
    groups: Sequence[list[int]], evaluate: Callable[[list[int]], list[Result]]
) -> list[Result]:
    """Evaluate groups of row numbers one by one; return the results in the order of the rows."""
    results: dict[int, Result] = {}
    for group in groups:
        results.update(zip(group, evaluate(group), strict=True))
    return [results[number] for number in range(len(results))]


def _max_cached_positions(backbone: Backbone) -> int:
    """Return the limit on positions (of prompts, inputs and answers) in the KV cache at a time."""
    if backbone.device.type != "cuda" or not is_packable(backbone.model):
        return MIN_CACHED_POSITIONS
    num_layers, num_heads, head_size = key_value_shape(backbone.model)
    bytes_each = 2 * num_layers * num_heads * head_size * backbone.model.dtype.itemsize
    memory = torch.cuda.get_device_properties(backbone.device).total_memory
    return _num_fitting(memory, bytes_each)


def _num_fitting(memory_bytes: int, bytes_each: int) -> int:
    """Return the number of positions that fit into a GPU's share of memory for the KV cache.

    It depends on the total memory and not on the free memory: other groups would give other
    rounding errors, and the results would not be repeatable.
    """
    fitting = int(_CACHE_SHARE_OF_GPU_MEMORY * memory_bytes / bytes_each)
    return max(MIN_CACHED_POSITIONS, min(fitting, _GPU_FACTOR * MIN_CACHED_POSITIONS))


def distinct_choices(
    choices: Sequence[tuple[int, ...]], *, end_id: int
) -> tuple[tuple[int, ...], ...]:
    """Remove ``end_id`` from the end of all choices, unless one would be the start of another."""
    shortened = tuple(ids[:-1] if ids[-1] == end_id else ids for ids in choices)
    is_ambiguous = any(a != b and b[: len(a)] == a for a in shortened for b in shortened)
    return tuple(choices) if is_ambiguous else shortened


def _score_rest(
    backbone: Backbone, pairs: Sequence[tuple[int, tuple[int, ...]]], past: Prefix, head: Head
) -> Tensor:
    """Return, for each (row, choice), the log-likelihood of all tokens except the first."""
    rests = [Row(task=0, input_ids=ids[:1], target_ids=ids[1:]) for _, ids in pairs]
    batch = collate(rests, pad_id=backbone.pad_id).to(backbone.device)
    own_past = past.select(torch.tensor([row for row, _ in pairs], device=backbone.device))
    hidden, _ = read_text(backbone.model, batch.input_ids, batch.attention_mask, own_past)
    log_probabilities = torch.log_softmax(head(hidden[:, :-1]), dim=-1)
    labels = batch.labels[:, 1:]
    picked = log_probabilities.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
    return (picked * (labels >= 0)).sum(dim=1)
