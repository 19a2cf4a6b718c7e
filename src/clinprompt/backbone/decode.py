"""Answer in text: greedy decoding and label scoring under prompts. Knows nothing of tasks.

Axes: B rows, T text tokens, C choices of a row, H hidden size, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.shared_prefix import Prefix, logits_of, read_text
from clinprompt.batches.encode import Row, collate


@torch.inference_mode()
def generate(
    backbone: Backbone,
    rows: Sequence[Row],
    prefix: Prefix | None,
    *,
    limits: Sequence[int],
    end_id: int,
) -> list[tuple[int, ...]]:
    """Return greedily chosen ids for each row, without the end token; finished rows leave early.

    ``limits`` are the most ids of each row, at least one. ``prefix`` holds the prompts of all
    tasks; a row picks its own by ``row.task``.
    """
    assert min(limits) > 0
    hidden, past = _read_inputs(backbone, rows, prefix)
    answers: list[list[int]] = [[] for _ in rows]
    waiting = torch.arange(len(rows), device=backbone.device)
    left = torch.tensor(limits, device=backbone.device)
    while True:
        chosen = logits_of(backbone.model, hidden).argmax(dim=-1)
        for row, token in zip(waiting.tolist(), chosen.tolist(), strict=True):
            if token != end_id:
                answers[row].append(token)
        left = left - 1
        kept = torch.nonzero((chosen != end_id) & (left > 0)).squeeze(1)
        if len(kept) == 0:
            break
        past = past if len(kept) == len(waiting) else past.select(kept)
        waiting, chosen, left = waiting[kept], chosen[kept], left[kept]
        is_real = torch.ones(len(waiting), 1, dtype=torch.bool, device=backbone.device)
        states, past = read_text(backbone.model, chosen[:, None], is_real, past)
        hidden = states[:, -1]
    return [tuple(answer) for answer in answers]


@torch.inference_mode()
def score_choices(
    backbone: Backbone,
    rows: Sequence[Row],
    choices: Sequence[Sequence[tuple[int, ...]]],
    prefix: Prefix | None,
) -> list[list[float]]:
    """Return the log-likelihood of each choice of each row, in nats, inputs being read once.

    Choices are token ids without end token, except where one would be the beginning of another
    (see ``distinct_choices``).
    """
    hidden, past = _read_inputs(backbone, rows, prefix)
    first = torch.log_softmax(logits_of(backbone.model, hidden), dim=-1)
    pairs = [(row, ids) for row, own in enumerate(choices) for ids in own]
    scores = torch.stack([first[row, ids[0]] for row, ids in pairs])
    longer = [index for index, (_, ids) in enumerate(pairs) if len(ids) > 1]
    if longer:
        scores[longer] += _score_rest(backbone, [pairs[index] for index in longer], past)
    values = iter(scores.tolist())
    return [[next(values) for _ in own] for own in choices]


def distinct_choices(
    choices: Sequence[tuple[int, ...]], *, end_id: int
) -> tuple[tuple[int, ...], ...]:
    """Return choices (each ending in ``end_id``) without it unless one is the start of another."""
    bare = tuple(ids[:-1] if ids[-1] == end_id else ids for ids in choices)
    clash = any(a != b and b[: len(a)] == a for a in bare for b in bare)
    return tuple(choices) if clash else bare


def _read_inputs(
    backbone: Backbone, rows: Sequence[Row], prefix: Prefix | None
) -> tuple[Tensor, Prefix]:
    """Read the rows' inputs; return the last real hidden state [B, H] and the past of each row."""
    inputs = [Row(task=row.task, input_ids=row.input_ids) for row in rows]
    batch = collate(inputs, pad_id=backbone.pad_id).to(backbone.device)
    past = prefix.select(batch.tasks) if prefix else None
    hidden, past = read_text(backbone.model, batch.input_ids, batch.attention_mask, past)
    last = batch.attention_mask.sum(dim=1) - 1
    return hidden[torch.arange(len(rows), device=backbone.device), last], past


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
