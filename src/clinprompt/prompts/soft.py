"""A plain soft prompt for each of K tasks. Knows nothing of models or training.

Axes: K tasks, P prompt positions, H width of a prompt position.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SoftPrompts(nn.Module):
    """K independent prompts, each [P, H]; for K = 1 this is prompt tuning (arXiv 2104.08691).

    With ``scale``, what is trained is the prompt divided by it, so that learning rates are relative
    to the scale.
    """

    scale: Tensor | None

    def __init__(
        self, vectors: Float[Tensor, "K P H"], *, scale: Float[Tensor, " H"] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        start = vectors.detach().clone().float()
        self.vectors = nn.Parameter(start if scale is None else start / scale)

    def forward(self, tasks: Sequence[int]) -> Float[Tensor, "k P H"]:
        """Return the prompts of the given tasks."""
        prompts = self.vectors[torch.as_tensor(tasks, device=self.vectors.device)]
        return prompts if self.scale is None else prompts * self.scale

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        return {"prompt": [self.vectors]}
