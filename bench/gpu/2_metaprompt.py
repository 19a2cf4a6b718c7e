"""Learn a metaprompt (configs/shipped-2.toml) within a given time, on one GPU.

Times a few steps of the teachers and of the distillation first. Then it decides how many steps of
each fit, before the decay of the learning rates begins. README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/2_metaprompt.py OUT --seconds 330
     python bench/gpu/2_metaprompt.py OUT --tiny MODEL        (a trial, on any processor)
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from session import Lines, Session, memory_folder, overrides, write

ROOT = Path(__file__).resolve().parents[2]
TEACHER_SHARE = 0.45  # of the time for training
TEACHER_STEPS = (400, 300, 200, 150, 100, 50)
LEAST_STEPS, MOST_STEPS = 50, 3000
RESERVE_SECONDS = 12.0  # of validation, saving and what is slower than in the trial
TRIAL_STEPS = 12
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


def main() -> None:
    """Learn in a worker process, and leave in OUT what was finished, however the call ends."""
    given = _arguments()
    if given.worker:
        learn(given)
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        session.start(__file__, *sys.argv[1:], "--work", str(given.work), "--worker")
        is_done = session.wait()
    session.say("done" if is_done else "not finished: see log.txt")
    print((given.out / "log.txt").read_text()[-2500:], flush=True)
    sys.exit(0 if is_done else 1)


def learn(given: argparse.Namespace) -> None:
    """Train teachers, distill them, and save the metaprompt in OUT/metaprompt-SEED."""
    ends = monotonic() + given.seconds - RESERVE_SECONDS
    learning = Learning(given)
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
        lambda each: max(LEAST_STEPS, min(MOST_STEPS, int((ends - monotonic()) / each))),
    )
    saved = learning.distill(f"metaprompt-{given.seed}", steps)
    place = given.out / f"metaprompt-{given.seed}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(saved, place)
    learning.say(f"saved in {place}")


class Learning:
    """The two phases, with the encoded rows and the steps that were chosen for each."""

    def __init__(self, given: argparse.Namespace) -> None:
        # Imported here because --help and the first process need no package.
        from clinprompt.runs.suite_data import load_suite  # noqa: PLC0415
        from clinprompt.runs.task_rows import task_rows_of  # noqa: PLC0415
        from clinprompt.runs.workspace import load_run_backbone  # noqa: PLC0415

        self._given, self._lines = given, Lines("metaprompt")
        self._path = given.work / f"steps-{given.seed}.json"
        self._chosen = json.loads(self._path.read_text()) if self._path.is_file() else {}
        config = self._config()
        self._sources = load_suite(config.suite, config.data, None).sources
        encoded = _encoded(config, self._sources)  # before CUDA starts: these processes are forks
        self._backbone = load_run_backbone(given.work / "none", config)
        self._rows = task_rows_of(config, self._backbone)
        self._rows.take_training(encoded)
        count = sum(len(self._rows.training(data)) for data in self._sources)
        self.say(f"{len(self._sources)} sources, {count} rows encoded")
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
        changed: dict[str, Any] = {**TINY, "backbone": str(tiny)} if tiny else {}
        changed["seed"] = self._given.seed
        for phase, count in steps.items():
            changed |= {f"{phase}.steps": count, f"{phase}.warmup_steps": min(20, count // 2)}
        given = [*overrides(list(changed.items())), *self._given.set]
        return load_config(ROOT / "configs" / "shipped-2.toml", given)


def _encoded(config: Any, sources: Sequence[Any]) -> dict[str, Any]:  # noqa: ANN401
    """Return the training rows of all sources, encoded by many processes."""
    from clinprompt.backbone.load import load_tokenizer  # noqa: PLC0415
    from clinprompt.backbone.stored import locate, read_config  # noqa: PLC0415
    from clinprompt.runs.task_rows import TaskRows  # noqa: PLC0415

    tokenizer = load_tokenizer(config.backbone)  # unpacks the default backbone
    positions = read_config(config.backbone, locate(config.backbone)[0]).max_position_embeddings
    rows = TaskRows(tokenizer, positions - config.prompt.length, config.data, config.seed)
    with get_context("fork").Pool(min(16, os.cpu_count() or 1)) as pool:
        found = pool.map(rows.training, sources, chunksize=1)
    return {data.card.name: own for data, own in zip(sources, found, strict=True)}


def _seconds_each(log: Path) -> float:
    """Return the mean seconds of a step, over all that is trained in it, after the first steps."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    timed = [row for row in rows if "seconds" in row and row["step"] > TRIAL_STEPS // 3]
    return sum(row["seconds"] for row in timed) / len({row["step"] for row in timed})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for results")
    parser.add_argument("--work", type=Path, help="folder for runs; best in memory")
    parser.add_argument("--resume", type=Path, help="state.tar.gz of an earlier call")
    parser.add_argument("--seconds", type=float, default=560, help="of the whole call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting, section.key=value")
    parser.add_argument("--tiny", type=Path, help="folder of a tiny model: a trial of the script")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.work = given.work or memory_folder("clinprompt-metaprompt", given.out)
    return given


if __name__ == "__main__":
    main()
