"""Keep the rows of a batch to the tokens that they may write next. Knows no grammars.

Holds mutable state: the constraints, each of which follows the answer of its row.

Axes: B rows, V vocabulary.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Constraint(Protocol):
    """Which tokens may come next in the answer of one row."""

    def allowed(self) -> bytes:
        """Return a bit for each id, in order, the lowest bit of a byte first; at least one is 1."""
        ...

    def accept(self, token: int) -> None:
        """Continue after a token that was allowed and does not end the answer."""
        ...


class Constraints:
    """Apply the constraints of a batch's rows, several at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()

    def forbid(
        self, logits: Float[Tensor, "B V"], constraints: Sequence[Constraint | None]
    ) -> Float[Tensor, "B V"]:
        """Return logits with -inf at tokens that may not come next; None leaves a row free."""
        own = [(place, one) for place, one in enumerate(constraints) if one is not None]
        if not own:
            return logits
        packed = b"".join(self._pool.map(lambda pair: pair[1].allowed(), own))
        bits = np.frombuffer(packed, dtype=np.uint8).reshape(len(own), -1)
        # On the CPU: a mask needs no arithmetic on the device, only a copy.
        is_forbidden = np.unpackbits(bits, axis=1, bitorder="little")[:, : logits.shape[1]] == 0
        mask = np.zeros(tuple(logits.shape), dtype=np.bool_)
        mask[[place for place, _ in own], : is_forbidden.shape[1]] = is_forbidden
        whole = torch.from_numpy(mask).to(logits.device)
        return logits.masked_fill(whole, -torch.inf)

    def accept(self, tokens: Sequence[tuple[Constraint, int]]) -> None:
        """Continue each constraint after one more token."""
        list(self._pool.map(lambda pair: pair[0].accept(pair[1]), tokens))
