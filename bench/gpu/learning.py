"""Learn a metaprompt in as many steps as fit in a given time. Knows nothing of sessions.

A few steps of the teachers and of the distillation are timed first. Then the steps of each are
fixed, because the decay of the learning rates depends on them.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from session import Lines, overrides, write

ROOT = Path(__file__).resolve().parents[2]
TEACHER_SHARE = 0.45  # of the time for training
TEACHER_STEPS = (400, 300, 200, 150, 100, 50)
LEAST_STEPS, MOST_STEPS = 50, 3000
RESERVE_SECONDS = 12.0  # of validation, saving and what is slower than in the trial
TRIAL_STEPS = 12
SLOWER_LATER = 1.5  # the first steps of distillation were faster than the rest
TINY = {
    "suite": "practice",
    "dtype": "float32",
    "data.max_input_tokens": 80,
    "data.max_target_tokens": 32,
    "data.train_rows": 16,
    "prompt.length": 4,
    "teacher.rows": 2,
    "teacher.validate_every": 1,
    "distill.rows": 2,
}


def learn(given: argparse.Namespace, fixed: Mapping[str, Any]) -> None:
    """Train teachers, distill them, and save the metaprompt in OUT/metaprompt-SEED.

    ``fixed`` are changed settings of configs/shipped-2.toml. ``given.seconds`` are kept to.
    """
    ends = monotonic() + given.seconds - RESERVE_SECONDS
    learning = Learning(given, fixed)
    steps = learning.steps(
        "teacher",
        lambda each: max(
            (one for one in TEACHER_STEPS if one * each <= TEACHER_SHARE * (ends - monotonic())),
            default=TEACHER_STEPS[-1],
        ),
    )
    learning.train_teachers(f"teachers-{given.seed}", steps)
    learning.say("teachers trained")
    steps = learning.steps(
        "distill",
        lambda each: max(
            LEAST_STEPS, min(MOST_STEPS, int((ends - monotonic()) / each / SLOWER_LATER))
        ),
    )
    saved = learning.distill(f"distill-{given.seed}", steps)
    for folder in (given.out, given.work):  # the second is part of what --resume takes
        place = folder / f"metaprompt-{given.seed}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(saved, place)
    learning.say(f"saved as metaprompt-{given.seed}")


class Learning:
    """The two phases, with the encoded rows and the steps that were chosen for each."""

    def __init__(self, given: argparse.Namespace, fixed: Mapping[str, Any]) -> None:
        # Imported here because --help and the first process need no package.
        from clinprompt.runs.suite_data import load_suite  # noqa: PLC0415
        from clinprompt.runs.workspace import load_run_backbone  # noqa: PLC0415

        self._given, self._fixed, self._lines = given, fixed, Lines("metaprompt")
        self._path = given.work / f"steps-{given.seed}.json"
        self._chosen = json.loads(self._path.read_text()) if self._path.is_file() else {}
        config = self._config()
        self._sources = load_suite(config.suite, config.data, None).sources
        self._rows, num_known = _encoded(config, self._sources)  # forks: before CUDA starts
        count = sum(len(self._rows.training(data)) for data in self._sources)
        self.say(f"{len(self._sources)} sources, {count} rows; {num_known} were encoded before")
        self._backbone = load_run_backbone(given.work / "none", config)
        self._teachers: list[Any] = []

    def say(self, message: str) -> None:
        """Print a line with the time."""
        self._lines.say(message)

    def steps(self, phase: str, fitting: Callable[[float], int]) -> int:
        """Return the steps of a phase, which ``fitting`` decides from the seconds of one step."""
        if phase not in self._chosen:
            name = f"trial-{phase}"
            (self.train_teachers if phase == "teacher" else self.distill)(name, TRIAL_STEPS)
            each = _seconds_each(self._given.work / name / "metrics.jsonl")
            steps = 3 if self._given.tiny else fitting(each)
            shutil.rmtree(self._given.work / name)
            self._chosen[phase] = {"steps": steps, "seconds of a step": each}
            self.say(f"{phase}: {self._chosen[phase]}")
            write(self._path, json.dumps(self._chosen, indent=2).encode() + b"\n")
        return int(self._chosen[phase]["steps"])

    def train_teachers(self, name: str, steps: int) -> None:
        """Train one prompt for each source."""
        from clinprompt.jobs.teachers import train_teachers  # noqa: PLC0415

        config = self._config(teacher=steps)
        self._teachers = train_teachers(
            config,
            self._backbone,
            self._sources,
            workspace=self._open(name, config),
            task_rows=self._rows,
        )

    def distill(self, name: str, steps: int) -> Path:
        """Distill the teachers; return the folder of the metaprompt."""
        from clinprompt.jobs.distill import distill  # noqa: PLC0415

        config = self._config(teacher=self._chosen["teacher"]["steps"], distill=steps)
        workspace = self._open(name, config)
        learned = distill(
            config,
            self._backbone,
            self._sources,
            teachers=self._teachers,
            workspace=workspace,
            task_rows=self._rows,
        )
        return workspace.store.save(learned)

    def _open(self, name: str, config: Any) -> Any:  # noqa: ANN401 - types of the package
        from clinprompt.runs.workspace import open_workspace  # noqa: PLC0415

        return open_workspace(self._given.work / name, config, self._backbone, reporter=self._lines)

    def _config(self, **steps: int) -> Any:  # noqa: ANN401 - a RunConfig
        from clinprompt.settings.run import load_config  # noqa: PLC0415

        tiny = self._given.tiny
        changed: dict[str, Any] = {**self._fixed, "seed": self._given.seed}
        changed |= {**TINY, "backbone": str(tiny)} if tiny else {}
        for phase, count in steps.items():
            changed |= {f"{phase}.steps": count, f"{phase}.warmup_steps": min(20, count // 2)}
        given = [*overrides(list(changed.items())), *self._given.set]
        return load_config(ROOT / "configs" / "shipped-2.toml", given)


def _encoded(config: Any, sources: Sequence[Any]) -> tuple[Any, int]:  # noqa: ANN401
    """Return the rows of all sources, and of how many they were encoded beforehand.

    Many processes encode the others, and the validation rows of all.
    """
    from clinprompt.backbone.load import load_tokenizer  # noqa: PLC0415
    from clinprompt.backbone.stored import locate, read_config  # noqa: PLC0415
    from clinprompt.runs.suite_data import find_packed  # noqa: PLC0415
    from clinprompt.runs.task_rows import TaskRows  # noqa: PLC0415

    tokenizer = load_tokenizer(config.backbone)  # unpacks the default backbone
    positions = read_config(config.backbone, locate(config.backbone)[0]).max_position_embeddings
    context, packed = positions - config.prompt.length, find_packed(None)
    rows = TaskRows(tokenizer, context, config.data, config.seed, packed)
    missing = [data for data in sources if not packed or not rows.is_packed(data, is_source=True)]
    for data in missing:
        _JOBS.append(partial(rows.training, data))
    for data in sources:
        _JOBS.append(partial(rows.validation, data))
    with get_context("fork").Pool(min(16, os.cpu_count() or 1)) as pool:
        found = pool.map(_run_job, range(len(_JOBS)), chunksize=1)
    training, validation = found[: len(missing)], found[len(missing) :]
    rows.take_training(dict(zip((one.card.name for one in missing), training, strict=True)))
    rows.take_validation(dict(zip((one.card.name for one in sources), validation, strict=True)))
    return rows, len(sources) - len(missing)


# Forked processes find their jobs here: to send each of them the tokenizer would take seconds.
_JOBS: list[Callable[[], Any]] = []


def _run_job(number: int) -> Any:  # noqa: ANN401 - rows of a task
    return _JOBS[number]()


def _seconds_each(log: Path) -> float:
    """Return the mean seconds of a step, over all that is trained in it, after the first steps."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    timed = [row for row in rows if "seconds" in row and row["step"] > TRIAL_STEPS // 3]
    return sum(row["seconds"] for row in timed) / len({row["step"] for row in timed})
