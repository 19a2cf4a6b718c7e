"""What a method of a comparison is: one frozen description. Knows no method by name.

Axes: P prompt positions, R rank, W width of a prompt position.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.layers import key_value_shape
from clinprompt.backbone.load import Backbone
from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Encoder, Row
from clinprompt.errors import SettingError
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.initializers import scale_of_parts
from clinprompt.settings.groups import Placement
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.records import Record

Trains = Literal["nothing", "prompt", "adapters", "weights"]
Saves = Literal["nothing", "prompt", "factors"]


def no_teacher(_: str) -> None:
    """Return None: the run has trained no prompts for source tasks."""


def no_source_training(_: str) -> None:
    """Return None: the run has trained no method on its source tasks."""


def say_nothing(_: str) -> None:
    """Drop a message."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a method may start from.

    ``config`` holds the settings, resolved for this backbone and variant. ``rows`` are the encoded
    training examples of the task; ``validation`` are rows to choose the best state with, if the
    task has some of its own. ``load_teacher`` returns the prompt that the run trained for a
    source task, or None if it trained none; ``load_from_sources`` returns the tensors that the run
    trained for a method on all source tasks, or None. ``say`` shows a message to the user.
    """

    config: RunConfig
    backbone: Backbone
    card: TaskCard
    rows: Sequence[Row] = ()
    seed: int = 0
    metaprompt: Artifact | None = None
    load_teacher: Callable[[str], Artifact | None] = no_teacher
    say: Callable[[str], None] = say_nothing
    validation: Sequence[Row] = ()
    load_from_sources: Callable[[str], Mapping[str, Tensor] | None] = no_source_training

    def scale_of(self, prompt: Tensor) -> Tensor | None:
        """Return what learning rates of a prompt [P, W] are relative to, [W]; None: nothing."""
        if not self.config.adapt.relative_rates:
            return None
        is_deep = self.config.prompt.placement == "layers"
        num_parts = 2 * key_value_shape(self.backbone.model)[0] if is_deep else 1
        return scale_of_parts(prompt, num_parts=num_parts)

    def needed_metaprompt(self, method: str) -> Artifact:
        """Return the metaprompt.

        Raises:
            SettingError: there is none.
        """
        if self.metaprompt is None:
            raise SettingError(f"method {method} needs a metaprompt; distill one first")
        return self.metaprompt

    def needed_from_sources(self, method: str) -> Mapping[str, Tensor]:
        """Return what the run trained for a method on all source tasks.

        Raises:
            SettingError: it has trained nothing for it.
        """
        found = self.load_from_sources(method)
        if found is None:
            raise SettingError(
                f"method {method} starts from training on the source tasks, which this run has not "
                "done; use it in a comparison"
            )
        return found


Rates = Mapping[str, float]  # learning rates by parameter group
Started = AbstractContextManager[tuple[Tuner, Rates]]
Untrained = Callable[[Start, Encoder, Sequence[Record]], tuple[Bank, int]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what it trains, what it needs, how it starts, and what is saved.

    ``count`` returns how many numbers it trains. A method that trains has ``start``: a context
    manager that yields the tuner and its learning rates, and that restores the backbone when its
    block ends. A method that trains nothing has ``untrained``, which returns its bank of prompts
    and how many of the given records are shown in it, as solved examples. If ``is_instructed``, the
    method reads an instruction also in input form 1 (in form 2 all methods do). If
    ``reads_prompt``, it reads learned vectors with every row, which costs time and memory. If
    ``needs_teachers``, the run itself must have trained a prompt for each source task. If there is
    ``on_sources``, the method is trained on the rows of all source tasks once in a run, before it
    is fitted to targets: a context manager like ``start``, of the settings and the backbone.
    ``placement`` is where its prompt always stands; None: where the settings say.
    """

    name: str
    trains: Trains = "nothing"
    count: Callable[[RunConfig, ModelSizes], int] = lambda _, __: 0
    start: Callable[[Start], Started] | None = None
    untrained: Untrained | None = None
    on_sources: Callable[[RunConfig, Backbone], Started] | None = None
    needs_metaprompt: bool = False
    needs_teachers: bool = False
    is_instructed: bool = False
    uses_shots: bool = True
    allows_all_shots: bool = True
    reads_prompt: bool = True
    required_dtype: str = ""
    is_checkpointed: bool = True
    saves: Saves = "nothing"
    placement: Placement | None = None

    def started(self, given: Start) -> Started:
        """Return ``start`` as a context manager: what the method trains and its learning rates.

        Raises:
            SettingError: the method trains nothing, or something that it needs is missing.
        """
        if self.start is None:
            raise SettingError(f"method {self.name} trains nothing")
        return self.start(given)
