"""What the fault loop runs: commands on a tiny model."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import corrections
from made_metaprompt import save_metaprompt
from made_store import save_store
from small_comparison import config_of
from tiny import save_tiny
from trials import Workload

from clinprompt import api
from clinprompt.files import find_folder
from clinprompt.jobs.batch.run import BatchRequest, answer_batch
from clinprompt.jobs.comparison.compare import compare
from clinprompt.jobs.distill import distill_suite
from clinprompt.prompts.artifact import load_artifact
from clinprompt.settings.groups import Shots
from clinprompt.settings.run import RunConfig
from clinprompt.training.progress import Silent

TASK = "practice-nli-social"
NAMES = (
    "adapt",
    "adapt-again",
    "adapt-again-without-exchange",
    "distill",
    "compare",
    "predict",
    "predict-brat",
    "corrections",
)
STEPS = {"steps": 3, "rows": 2, "warmup_steps": 1, "checkpoint_every": 1}


@dataclass(frozen=True)
class Inputs:
    """What the workloads read: a tiny model, a metaprompt, a store, and notes; nobody writes it."""

    folder: Path
    model: Path = field(init=False)
    metaprompt: Path = field(init=False)
    store: Path = field(init=False)
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        for name in ("model", "metaprompt", "store", "notes"):
            object.__setattr__(self, name, self.folder / name)

    def make(self) -> "Inputs":
        """Write the files."""
        save_tiny(self.model, "llama")
        save_metaprompt(self.metaprompt, self.model, adapt=STEPS)
        save_store(self.store, self.model, tasks=("practice-ner-drugs",), placements=("prefix",))
        drugs = ("aspirin", "insulin", "metformin")
        rows = [{"id": name, "text": f"Takes {name} daily."} for name in drugs]
        self.notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for command in ("distill", "compare"):
            _settings(self, command)
        return self


@cache
def _settings(inputs: Inputs, command: str) -> RunConfig:
    """Return the settings of a command; they write a file, so the parent of all trials asks."""
    sections: dict[str, object] = {"teacher": STEPS, "distill": STEPS}
    if command == "compare":
        methods = ("instruction", "prompt-tuning", "adapted-metaprompt")
        grid = {"methods": methods, "shots": [2], "targets": [TASK]}
        sections = {"metaprompt": str(inputs.metaprompt), "adapt": STEPS, "compare": grid}
    folder = inputs.folder / command
    folder.mkdir()
    return config_of(folder, inputs.model, **sections)


def _adapt(inputs: Inputs, folder: Path, *, shots: Shots = 4, force: bool = False) -> Path:
    settings = {"backbone": str(inputs.model), "device": "cpu"}
    metaprompt, run = inputs.metaprompt, folder / "run"
    adapted = api.adapt(
        TASK, shots=shots, metaprompt=metaprompt, folder=run, settings=settings, force=force
    )
    return adapted.folder


def _prompt_is_there(folder: Path) -> None:
    """Check that the prompt that was adapted before is there, or the new one in its place."""
    load_artifact(find_folder(folder / "run" / "store" / TASK))


def _distill(inputs: Inputs, folder: Path) -> None:
    config = _settings(inputs, "distill")
    distill_suite(folder / "run", config, mirror=None, reporter=Silent())


def _compare(inputs: Inputs, folder: Path) -> None:
    """Fill the grid; the report follows from the cells alone, and has times in it."""
    config = _settings(inputs, "compare")
    compare(folder / "run", config, mirror=None, command=None, reporter=Silent())


class _Unseen:
    def begin(self, what: str, *, total: int, done: int = 0) -> None: ...
    def advance(self, count: int, /) -> None: ...
    def say(self, message: str) -> None: ...


def _predict(inputs: Inputs, folder: Path, *, form: str) -> None:
    request = BatchRequest(
        store=inputs.store,
        notes=inputs.notes,
        output=folder / "answers",
        form=form,
        backbone=str(inputs.model),
        device="cpu",
        notes_per_chunk=1,
    )
    answer_batch(request, _Unseen())


def _correct(inputs: Inputs, folder: Path) -> None:
    corrections.run(folder, model=inputs.model, metaprompt=inputs.metaprompt)


def workloads(inputs: Inputs) -> dict[str, Workload]:
    """Return all workloads by name."""

    def run(job: Callable[..., object], **given: object) -> Callable[[Path], object]:
        return partial(job, inputs, **given)

    again = Workload(run(_adapt, force=True), run(_adapt), _prompt_is_there)
    every = (
        Workload(run(_adapt)),
        again,
        replace(again, exchanges=False),
        Workload(run(_distill)),
        Workload(run(_compare)),
        Workload(run(_predict, form="jsonl")),
        Workload(run(_predict, form="brat")),
        Workload(run(_correct)),
    )
    return dict(zip(NAMES, every, strict=True))
