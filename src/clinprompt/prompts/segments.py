"""Give each task type positions of its own in the metaprompt. Knows nothing of models or files.

Axes: K tasks, P prompt positions, H hidden size, S rows of the shared tensor: general ones, then a
segment for each type. A task's own shared prompt is the general rows and its type's segment.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinprompt.prompts.decomposed import Route
from clinprompt.prompts.initializers import mean_of_teachers
from clinprompt.tasks.card import TASK_TYPES


@dataclass(frozen=True, slots=True)
class Segments:
    """How the rows of a shared tensor are parted: ``length - size`` for all, ``size`` a type.

    ``types`` gives the order of the segments; ``size`` = 0 is the plain metaprompt.
    """

    length: int
    size: int
    types: tuple[str, ...] = TASK_TYPES

    @property
    def num_rows(self) -> int:
        """Return S, the rows of the shared tensor: P where there are no segments."""
        return self.length + (len(self.types) - 1) * self.size

    def mean(
        self, prompts: Sequence[Float[Tensor, "P H"]], types: Sequence[str]
    ) -> Float[Tensor, "S H"]:
        """Return the shared tensor that prompts of tasks of these types average to.

        The general rows are the mean of all, a segment that of its type's prompts: of all, where
        its type has none.
        """
        num_general = self.length - self.size
        parts = [mean_of_teachers(prompts)[:num_general]]
        for one in self.types:
            own = [prompt for prompt, of in zip(prompts, types, strict=True) if of == one]
            parts.append(mean_of_teachers(own or prompts)[num_general:])
        return torch.cat(parts)

    def repeat_prompt(self, prompt: Float[Tensor, "P H"]) -> Float[Tensor, "S H"]:
        """Return the shared tensor in which tasks of every type start as one prompt."""
        return torch.cat([prompt, *([prompt[self.length - self.size :]] * (len(self.types) - 1))])

    def route(self, types: Sequence[str]) -> Route | None:
        """Return what gives tasks, numbered as their types stand, their own shared prompts.

        None where there are no segments: all tasks use the whole.
        """
        if not self.size:
            return None
        return lambda shared, tasks: self.of_tasks(shared, [types[task] for task in tasks])

    def of_tasks(
        self, shared: Float[Tensor, "S H"], types: Sequence[str]
    ) -> Float[Tensor, "K P H"]:
        """Return the own shared prompts of tasks of these types, each of which has a segment.

        Rows are joined and not picked by an index: so gradients add up in one order on every
        device, and a run repeats to the bit.
        """
        general, own = self._parts(shared)
        return torch.stack([torch.cat([general, own[one]]) for one in types])

    def of_type(
        self, shared: Float[Tensor, "S H"], task_type: str, *, known: Collection[str]
    ) -> Float[Tensor, "P H"]:
        """Return the own shared prompt of a new task.

        ``known`` are the types that were trained. Another type gets the mean of their segments.
        """
        if not self.size:
            return shared
        if task_type in known:
            return self.of_tasks(shared, [task_type])[0]
        general, own = self._parts(shared)
        trained = torch.stack([own[one] for one in self.types if one in known])
        return torch.cat([general, trained.mean(dim=0)])

    def _parts(self, shared: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the general rows and each type's segment."""
        sizes = [self.length - self.size, *([self.size] * len(self.types))]
        general, *own = torch.split(shared, sizes)
        return general, dict(zip(self.types, own, strict=True))
