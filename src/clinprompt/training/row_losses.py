"""Compute the loss of each row with a given prompt. Knows nothing of training steps."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from clinprompt.backbone.bank import Bank, target_states
from clinprompt.backbone.gradients import token_weights
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Row
from clinprompt.training.losses import task_loss
from clinprompt.training.member import batches_of


@torch.no_grad()
def row_losses(
    backbone: Backbone, bank: Bank, rows: Sequence[Row], *, max_tokens: int = 4096
) -> list[float]:
    """Return the mean task loss per target token of each row, in nats, with the bank's one prompt.

    The rows are read in batches of at most ``max_tokens`` tokens.
    """
    numbered = [replace(row, task=number) for number, row in enumerate(rows)]
    prompt_tokens = 0 if bank.suffix is None else bank.num_positions
    losses = torch.zeros(len(rows), device=backbone.device)
    for batch in batches_of(backbone, numbered, max_tokens, prompt_tokens=prompt_tokens):
        states = target_states(backbone.model, batch, bank, torch.zeros_like(batch.tasks))
        weights = token_weights(states.rows, total=1)
        own = task_loss(states.logits, states.labels).float() * weights
        losses.index_add_(0, batch.tasks[states.rows], own)
    return [float(loss) for loss in losses]
