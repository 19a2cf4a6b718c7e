"""Keep the rows of a batch to the tokens that they may write next. Knows no grammars.

A model that wants to write what is not allowed, such as a mention for the second time, would go on
with the least unlikely of the allowed words. So an answer ends where little of the probability is
on allowed tokens; a last line that is not whole is dropped.

Axes: B rows, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

MIN_SHARE = 0.1  # of the probability of all tokens that must be on allowed ones


@runtime_checkable
class Constraint(Protocol):
    """Which tokens may come next in the answer of one row."""

    def allowed(self) -> NDArray[np.int64]:
        """Return the ids [N] that may come next; at least one."""
        ...

    def lowered(self) -> tuple[NDArray[np.int64], float]:
        """Return ids whose logits are lowered, and by how much, in nats."""
        ...

    def ends(self) -> Sequence[int]:
        """Return the ids with which the answer may end now although its last line is not whole."""
        ...

    def accept(self, token: int) -> None:
        """Continue after a token that was allowed and does not end the answer."""
        ...


def constrain(
    logits: Float[Tensor, "B V"], constraints: Sequence[Constraint | None]
) -> Float[Tensor, "B V"]:
    """Return logits with -inf at tokens that may not come next, and some tokens lowered.

    If less than ``MIN_SHARE`` of the probability is on allowed tokens, only the end is allowed.

    There is one constraint for each row; None leaves a row as it is.
    """
    own = [(place, one) for place, one in enumerate(constraints) if one is not None]
    if not own:
        return logits
    ids = [one.allowed() for _, one in own]
    places = np.repeat([place for place, _ in own], [len(one) for one in ids])
    kept = torch.from_numpy(np.stack([places, np.concatenate(ids)])).to(logits.device)
    # The tokenizer may have ids that the model does not.
    row, column = kept[:, kept[1] < logits.shape[1]]
    constrained = logits.clone()
    constrained[[place for place, _ in own]] = -torch.inf
    constrained[row, column] = logits[row, column]
    shares = _shares(logits, row, column).tolist()
    for place, one in own:
        if shares[place] < MIN_SHARE and (ends := list(one.ends())):
            constrained[place] = -torch.inf
            constrained[place, ends] = logits[place, ends]
        lowered, by = one.lowered()
        if lowered.size:
            constrained[place, torch.from_numpy(lowered).to(logits.device)] -= by
    return constrained


def _shares(
    logits: Float[Tensor, "B V"], row: Int[Tensor, " N"], column: Int[Tensor, " N"]
) -> Float[Tensor, " B"]:
    """Return the probability of the given tokens in each row, added up."""
    chances = (logits[row, column] - logits.logsumexp(dim=-1)[row]).exp()
    return torch.zeros_like(logits[:, 0]).index_add_(0, row, chances)
