"""What each method of a comparison trains: from which start, at which rates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import PeftPromptTuner, Tuner, full, lora
from clinprompt.batches.encode import Row
from clinprompt.errors import SettingError
from clinprompt.methods.routing import best_teacher, starting_prompt
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.runs.run import Run
from clinprompt.settings.groups import Method
from clinprompt.tasks.card import TaskCard

Rates = dict[str, float]
TRAIN_PROMPTS: tuple[Method, ...] = (
    "prompt-tuning",
    "spot",
    "peft-mpt",
    "adapted-factors",
    "adapted-metaprompt",
)


@dataclass(frozen=True, slots=True)
class Start:
    """What a method may start from: a run, a metaprompt, and the rows of one task."""

    run: Run
    metaprompt: Artifact | None
    card: TaskCard
    rows: Sequence[Row]
    seed: int

    def needed(self, method: str) -> Artifact:
        """Return the metaprompt.

        Raises:
            SettingError: there is none.
        """
        if self.metaprompt is None:
            raise SettingError(f"method {method} needs a metaprompt; distill one first")
        return self.metaprompt


Started = AbstractContextManager[tuple[Tuner, Rates]]


def start(method: Method, given: Start) -> Started:
    """Return what a method trains and its learning rates, for as long as the block runs.

    Raises:
        SettingError: the method trains nothing, or needs something that is not there.
    """
    if method not in _STARTS:
        raise SettingError(f"method {method} trains nothing; known: {', '.join(_STARTS)}")
    return _STARTS[method](given)


def _prompt_tuning(given: Start) -> Started:
    run = given.run
    vectors = start_vectors(run.backbone, run.config.prompt, seed=given.seed)
    module = SoftPrompts(vectors[None]).to(run.backbone.device)
    return nullcontext((run.tuner(module), {"prompt": run.config.baselines.prompt_rate}))


def _spot(given: Start) -> Started:
    run = given.run
    module = best_teacher(run, given.needed("spot"), given.card, given.rows)
    return nullcontext((run.tuner(module), {"prompt": run.config.baselines.prompt_rate}))


def _peft_mpt(given: Start) -> Started:
    run, prompt = given.run, given.run.config.prompt
    tuner = PeftPromptTuner(run.backbone, length=prompt.length, rank=prompt.rank, seed=given.seed)
    return nullcontext((tuner, {"mpt": run.config.baselines.mpt_rate}))


@contextmanager
def _lora(given: Start) -> Iterator[tuple[Tuner, Rates]]:
    own = given.run.config.baselines
    with lora(
        given.run.backbone, rank=own.lora_rank, modules=own.lora_modules, seed=given.seed
    ) as tuner:
        yield tuner, {"lora": own.lora_rate}


@contextmanager
def _full(given: Start) -> Iterator[tuple[Tuner, Rates]]:
    with full(given.run.backbone) as tuner:
        yield tuner, {"full": given.run.config.baselines.full_rate}


def _adapted(given: Start, *, train_shared: bool) -> Started:
    run, settings = given.run, given.run.config.adapt
    metaprompt = given.needed("adapted-metaprompt" if train_shared else "adapted-factors")
    module = starting_prompt(
        run, metaprompt, given.card, rows=given.rows, train_shared=train_shared
    )
    rates = {"shared": settings.shared_rate} if train_shared else {}
    return nullcontext((run.tuner(module), rates | {"factors": settings.factor_rate}))


_STARTS: Mapping[Method, Callable[[Start], Started]] = {
    "prompt-tuning": _prompt_tuning,
    "spot": _spot,
    "peft-mpt": _peft_mpt,
    "lora": _lora,
    "full": _full,
    "adapted-factors": lambda given: _adapted(given, train_shared=False),
    "adapted-metaprompt": lambda given: _adapted(given, train_shared=True),
}
