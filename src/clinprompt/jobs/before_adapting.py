"""Look at an adaptation before it runs: its start, its rows and the memory that it takes."""

from dataclasses import dataclass

from clinprompt.backbone.load import Backbone, check_fits
from clinprompt.backbone.model_sizes import inspect_backbone
from clinprompt.jobs.adapt import Adaptation
from clinprompt.jobs.fit_method import MethodFit, steps_of, untrained
from clinprompt.jobs.planning.memory import prompt_memory
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import with_shape
from clinprompt.methods.table import ADAPT_ALL, METHODS
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.suite_data import load_apart
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard

_PROGRAM_BYTES = 500 << 20  # of Python, PyTorch and transformers


def untrained_prompt(backbone: Backbone, card: TaskCard, config: RunConfig) -> Artifact:
    """Return the prompt that a task starts from, as ``adapt --shots 0`` saves it.

    ``config`` are the settings of an adaptation. The prompt is not calibrated, because there are no
    records yet.

    Raises:
        ArtifactError: the metaprompt is missing, or is of another backbone.
        SettingError: the metaprompt has no source task of the task's type.
    """
    metaprompt = find_metaprompt(config.metaprompt, config.backbone)
    check_fits(backbone, metaprompt.manifest)
    config = with_shape(config, metaprompt).model_copy(update={"metaprompt": ""})
    method = METHODS[ADAPT_ALL]
    start = Start(config, backbone, card, seed=config.seed, metaprompt=metaprompt)
    fit = MethodFit(method, start, Adaptation(ADAPT_ALL, 0).name(card.name, metaprompt))
    with untrained(fit) as fitted:
        assert fitted.artifact is not None
        return fitted.artifact


@dataclass(frozen=True, slots=True)
class Usable:
    """The rows that an adaptation can train on, and those that it cannot.

    A long record has several rows. Rows are left out if their answers are too long. ``steps`` is
    how many training steps an adaptation to these rows takes.
    """

    rows: int
    left_out: int
    steps: int


def usable_rows(backbone: Backbone, card: TaskCard, config: RunConfig) -> Usable:
    """Return how many rows the training records of a task give, and how many are left out.

    Raises:
        DataError: there is no training record, or one does not fit the card.
    """
    metaprompt = find_metaprompt(config.metaprompt, config.backbone)
    rows = task_rows_of(with_shape(config, metaprompt), backbone)
    found = rows.candidates(load_apart(card, None))
    count = len(found.rows)
    steps = steps_of(METHODS[ADAPT_ALL], config.at(count).adapt, count)
    return Usable(count, found.num_too_long + found.num_cut, steps)


def adaptation_bytes(config: RunConfig) -> int:
    """Estimate the memory that a process takes that adapts one task, with its programs.

    It is 0 if the sizes of the backbone are not known.

    Raises:
        BackboneError: the backbone is not supported.
    """
    sizes = inspect_backbone(config.backbone).sizes
    if sizes is None:
        return 0
    metaprompt = find_metaprompt(config.metaprompt, config.backbone)
    return prompt_memory(with_shape(config, metaprompt), sizes, 0).total + _PROGRAM_BYTES
