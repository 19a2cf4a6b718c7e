"""A plain soft prompt for each of K tasks. Knows nothing of models or training.

Axes: K tasks, P prompt positions, H hidden size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SoftPrompts(nn.Module):
    """K independent prompts, each [P, H]; for K = 1 this is prompt tuning (arXiv 2104.08691)."""

    def __init__(self, vectors: Float[Tensor, "K P H"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().clone().float())

    def forward(self, tasks: Sequence[int]) -> Float[Tensor, "k P H"]:
        """Return the prompts of the given tasks."""
        return self.vectors[torch.as_tensor(tasks, device=self.vectors.device)]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        return {"prompt": [self.vectors]}
