"""The metaprompt: a shared prompt, and rank-R factors for each task. Knows nothing of models.

Axes: K tasks, P prompt positions, R rank, H hidden size. A task's prompt is
``shared ∘ (u · v)``, element-wise (arXiv 2303.02861, equation 2). If parts of ``shared`` belong to
some tasks only, it has S > P rows, of which each task uses P.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Route = Callable[[Tensor, Sequence[int]], Tensor]  # from shared [S, H] and k tasks to [k, P, H]


def compose(
    shared: Float[Tensor, "P H"] | Float[Tensor, "K P H"],
    u: Float[Tensor, "K P R"],
    v: Float[Tensor, "K R H"],
) -> Float[Tensor, "K P H"]:
    """Return the prompts of K tasks, from one shared prompt for all tasks or one for each task."""
    return shared * (u @ v)


def neutral_factors(
    num_tasks: int, *, length: int, hidden_size: int, rank: int, generator: torch.Generator
) -> tuple[Float[Tensor, "K P R"], Float[Tensor, "K R H"]]:
    """Return factors whose product is 1 everywhere, so that every task starts as ``shared``.

    The first rank is all ones. Further ranks have small random values in ``u`` and zeros in ``v``:
    they add nothing at first, and training can make them differ. They are the same for all tasks:
    a new task starts from the mean of the factors, in which different random columns would cancel.
    """
    u = 0.1 * torch.randn(length, rank, generator=generator).repeat(num_tasks, 1, 1)
    v = torch.zeros(num_tasks, rank, hidden_size)
    u[:, :, 0] = 1.0
    v[:, 0, :] = 1.0
    return u, v


class DecomposedPrompts(nn.Module):
    """The metaprompt: ``shared`` and the factors of K tasks.

    With ``train_shared`` = False, only the factors are trained. ``route`` selects each task's part
    of ``shared``; without it, all tasks use all of ``shared``. With ``scale``, ``shared`` is stored
    and trained divided by it, so that its learning rate is relative to the scale.
    """

    scale: Tensor | None

    def __init__(
        self,
        shared: Float[Tensor, "S H"],
        u: Float[Tensor, "K P R"],
        v: Float[Tensor, "K R H"],
        *,
        train_shared: bool = True,
        route: Route | None = None,
        scale: Float[Tensor, " H"] | None = None,
    ) -> None:
        super().__init__()
        self._route = route
        self.register_buffer("scale", scale)
        start = shared.detach().clone().float()
        start = start if scale is None else start / scale
        self.shared = nn.Parameter(start, requires_grad=train_shared)
        self.u = nn.Parameter(u.detach().clone().float())
        self.v = nn.Parameter(v.detach().clone().float())

    def forward(self, tasks: Sequence[int]) -> Float[Tensor, "k P H"]:
        """Return the prompts of the given tasks."""
        index = torch.as_tensor(tasks, device=self.shared.device)
        shared = self.shared if self.scale is None else self.shared * self.scale
        shared = self._route(shared, tasks) if self._route else shared
        return compose(shared, self.u[index], self.v[index])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained tensors, grouped by the name of their learning rate."""
        groups = {"factors": [self.u, self.v]}
        return {"shared": [self.shared], **groups} if self.shared.requires_grad else groups
