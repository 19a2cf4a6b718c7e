"""The rows of all source tasks, for a fit that learns from all of them at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.tuners import Tuner
from clinprompt.batches.encode import Row
from clinprompt.runs.task_rows import TaskRows
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.training.member import TASK_LOSS, FitMember, FitSpec


@dataclass(frozen=True, slots=True)
class SourceRows:
    """The rows of source tasks: ``rows[k]`` those of the task with card ``cards[k]``.

    Each row has the number of its task and its own number.
    """

    cards: Sequence[TaskCard]
    rows: Sequence[Sequence[Row]]
    validation: Sequence[Row]

    def member(
        self,
        name: str,
        tuner: Tuner,
        rates: Mapping[str, float],
        config: RunConfig,
        loss: Loss = TASK_LOSS,
    ) -> FitMember:
        """Return what is trained on the rows, as the settings of distillation say.

        So all methods that learn from sources read as many rows, in the same order.
        """
        settings = config.distill
        spec = FitSpec(
            settings,
            rates,
            config.seed,
            loss,
            settings.sampling_temperature,
            settings.validate_every,
            tuple(card.type for card in self.cards) if settings.balance == "types" else (),
        )
        tasks = [card.name for card in self.cards]
        return FitMember(name, tuner, self.rows, spec, self.validation, tasks)


def source_rows(sources: Sequence[TaskData], task_rows: TaskRows) -> SourceRows:
    """Return the training and validation rows of source tasks."""
    numbers = count()
    rows = [
        [replace(row, task=task, number=next(numbers)) for row in task_rows.training(data)]
        for task, data in enumerate(sources)
    ]
    validation = [row for k, data in enumerate(sources) for row in task_rows.validation(data, k)]
    return SourceRows([data.card for data in sources], rows, validation)
