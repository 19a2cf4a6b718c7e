"""Reserve positions of the metaprompt for each task type. Knows nothing of models or files.

Axes: K tasks, P prompt positions, H hidden size, S rows of the shared tensor. The first rows are
general; then comes a segment of rows for each type. The shared prompt of a task has the general
rows and its type's segment.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clinprompt.prompts.decomposed import Route
from clinprompt.prompts.initializers import mean_of_teachers
from clinprompt.tasks.kinds import TASK_TYPES


@dataclass(frozen=True, slots=True)
class Segments:
    """The division of a shared tensor: ``length - size`` general rows, ``size`` for each type.

    ``types`` is the order of the segments. With ``size`` = 0 there are no segments.
    """

    length: int
    size: int
    types: tuple[str, ...] = TASK_TYPES

    @property
    def num_rows(self) -> int:
        """Return S, the number of rows of the shared tensor; it equals P without segments."""
        return self.length + (len(self.types) - 1) * self.size

    def mean(
        self, prompts: Sequence[Float[Tensor, "P H"]], types: Sequence[str]
    ) -> Float[Tensor, "S H"]:
        """Return the mean of tasks' prompts as a shared tensor; ``types`` are the tasks' types.

        The general rows are the mean of all prompts. A segment is the mean of the prompts of its
        type or, if there are none, of all prompts.
        """
        num_general = self.length - self.size
        parts = [mean_of_teachers(prompts)[:num_general]]
        for one in self.types:
            own = [prompt for prompt, of in zip(prompts, types, strict=True) if of == one]
            parts.append(mean_of_teachers(own or prompts)[num_general:])
        return torch.cat(parts)

    def repeat_prompt(self, prompt: Float[Tensor, "P H"]) -> Float[Tensor, "S H"]:
        """Return the shared tensor that gives tasks of every type the same prompt."""
        return torch.cat([prompt, *([prompt[self.length - self.size :]] * (len(self.types) - 1))])

    def route(self, types: Sequence[str]) -> Route | None:
        """Return the function that selects the shared prompts of tasks, given all tasks' types.

        Return None without segments: then all tasks use the same shared prompt.
        """
        if not self.size:
            return None
        return lambda shared, tasks: self.of_tasks(shared, [types[task] for task in tasks])

    def of_tasks(
        self, shared: Float[Tensor, "S H"], types: Sequence[str]
    ) -> Float[Tensor, "K P H"]:
        """Return the shared prompts of tasks of the given types; each type needs a segment.

        Rows are concatenated and not selected by an index, so gradients are summed in the same
        order on every device and a run is repeatable to the bit.
        """
        general, own = self._parts(shared)
        return torch.stack([torch.cat([general, own[one]]) for one in types])

    def of_type(
        self, shared: Float[Tensor, "S H"], task_type: str, *, known: Collection[str]
    ) -> Float[Tensor, "P H"]:
        """Return the shared prompt of a new task.

        ``known`` are the types that were trained. A new type gets the mean of their segments.
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
