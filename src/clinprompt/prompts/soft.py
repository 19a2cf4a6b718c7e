"""A plain soft prompt for each of K tasks. Knows nothing of models or training.

Axes: K tasks, P prompt positions, H hidden size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SoftPrompts(nn.Module):
    """K prompts that share nothing, each [P, H]; prompt tuning (arXiv 2104.08691) for K = 1."""

    def __init__(self, vectors: Float[Tensor, "K P H"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().clone().float())

    def forward(self, tasks: Sequence[int]) -> Float[Tensor, "k P H"]:
        """Return the prompts of the given tasks."""
        return self.vectors[torch.as_tensor(tasks, device=self.vectors.device)]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors by the name of their learning rate."""
        return {"prompt": [self.vectors]}
