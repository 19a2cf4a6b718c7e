"""Search the settings of each method, with as many trials each, on tasks held back from sources.

A trial is fitted to a few examples of each held-back task and judged by its loss on validation rows
of that task. No target is looked at. Every trial is one line of ``search.jsonl``; the same command
goes on after a stop.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from clinprompt.batches.encode import Row
from clinprompt.errors import RunError, SettingError
from clinprompt.evaluation.report.score_tables import Table
from clinprompt.files import Claims, append_line
from clinprompt.jobs.adapt import Fit, adapt
from clinprompt.jobs.comparison.variants import Runs
from clinprompt.methods.metaprompts import check_unseen
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.folder import CLAIMS, check_is_run
from clinprompt.runs.run import Run
from clinprompt.runs.suite_data import (
    cards_of,
    check_suite,
    encode_all,
    examples_of,
    load_apart,
    load_suite,
)
from clinprompt.settings.groups import NEED_METAPROMPT, Method, SearchSettings
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import Split
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.suite import find_suite
from clinprompt.training.fit import mean_loss
from clinprompt.training.progress import Reporter


@dataclass(frozen=True, slots=True)
class Trial:
    """One method with other settings on one held-back task with one seed."""

    method: Method
    number: int
    changes: Mapping[str, Any]
    data: TaskData
    shots: int
    seed: int

    @property
    def key(self) -> str:
        """Return what tells this trial from every other."""
        what = [self.method, self.changes, self.data.card.name, self.shots, self.seed]
        return json.dumps(what, sort_keys=True)

    @property
    def phase(self) -> str:
        """Return the name under which it is trained: no other trial goes on from its checkpoint."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        return f"search/{self.method}-{self.data.card.name}-seed{self.seed}-{digest}"


def search(folder: Path, config: RunConfig, *, mirror: Path | None, reporter: Reporter) -> Table:
    """Make every trial that is not made yet; return the table of mean losses, best first.

    Raises:
        SettingError: the config has no [search], or a held-back task is a source or a target.
        ClinpromptError: a task, file or backbone is not usable.
    """
    if config.search is None:
        raise SettingError(f"{config.name}: has no section [search]; see configs/search.toml")
    whole, held_back = find_suite(config.suite), cards_of(config.search.tasks)
    if seen := sorted(held_back.keys() & cards_of([*whole.sources, *whole.targets]).keys()):
        raise SettingError(
            f"search.tasks: {seen[0]} is a source or target of suite {whole.name}; hold back others"
        )
    learns = not config.metaprompt and any(name in NEED_METAPROMPT for name in config.search.trials)
    suite = load_suite(
        config.suite, config.data, mirror, with_sources=learns, targets=None if learns else ()
    )
    check_suite(suite, config, beside=config.search.tasks)
    check_is_run(folder)
    claims = Claims(folder / CLAIMS)
    runs = Runs(folder, config, suite, mirror, claims, reporter)
    path = folder / "search.jsonl"
    judged = [load_apart(card, mirror) for card in held_back.values()]
    for trial in _trials(config.search, judged):
        with claims.claim(trial.key) as is_ours:
            if is_ours and trial.key not in _made(path):
                row = _make(runs, trial)
                append_line(path, json.dumps(row))
                reporter.say(f"{row['method']} {row['settings']}  {row['task']}: {row['loss']:.3f}")
    claims.close()
    return _table(config.search, list(_made(path).values()))


def _trials(settings: SearchSettings, held_back: Sequence[TaskData]) -> Iterator[Trial]:
    """Yield trials so that a search cut short has tried as much of every method."""
    for seed in settings.seeds:
        for data in held_back:
            for number in range(len(next(iter(settings.trials.values())))):
                for method, trials in settings.trials.items():
                    yield Trial(method, number, trials[number], data, settings.shots, seed)


def _make(runs: Runs, trial: Trial) -> dict[str, Any]:
    source = f"search.trials.{trial.method}, trial {trial.number + 1}"
    metaprompt: Artifact | None = None
    if trial.method in NEED_METAPROMPT:
        metaprompt = runs.metaprompt()
        check_unseen(metaprompt, (trial.data.card.name,))
    plain = runs.run()
    config = plain.config.changed(dict(trial.changes), source=source)
    # Rows and candidates stay encoded where the data settings are the same.
    run = (
        replace(plain, config=config) if config.data == plain.config.data else _apart(plain, config)
    )
    rows = run.few_rows(trial.data, trial.shots, seed=trial.seed)
    fit = Fit(trial.method, trial.data.card, rows, trial.phase, trial.seed)
    with adapt(run, fit, metaprompt) as fitted:
        loss = mean_loss(run.backbone, fitted.tuner, _validation(run, trial.data))
        progress = fitted.progress
    run.forget(trial.phase)
    return {
        "key": trial.key,
        "method": trial.method,
        "settings": _in_words(trial.changes),
        "task": trial.data.card.name,
        "shots": trial.shots,
        "seed": trial.seed,
        "loss": loss,
        "training_loss": progress.last_loss,
        "steps": progress.step,
        "seconds": progress.seconds,
    }


def _apart(plain: Run, config: RunConfig) -> Run:
    return Run(plain.folder, config, plain.backbone, plain.reporter, plain.finished)


def _validation(run: Run, data: TaskData) -> tuple[Row, ...]:
    """Return validation rows, or test rows where the held-back task has none.

    Raises:
        RunError: an answer is too long to be scored.
    """
    split: Split = "validation" if data.splits["validation"] else "test"
    examples = examples_of(data, split, limit=run.config.data.validation_rows, seed=run.config.seed)
    rows = [row for row in encode_all(run.encoder(), data.card, examples) if not row.target_was_cut]
    if not rows:
        raise RunError(
            f"{data.card.name}: no {split} row has an answer that fits; raise "
            "data.max_target_tokens, or hold back another task"
        )
    return tuple(rows)


def _made(path: Path) -> dict[str, dict[str, Any]]:
    """Return what is made already, by key; a half-written last line is left out."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        rows = {row["key"]: row for row in map(json.loads, lines)}
        for row in rows.values():
            _asked(row)
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged; delete the line that is not JSON") from error


def _table(settings: SearchSettings, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the losses of each trial that is made on all tasks and seeds, the best mean first."""
    tasks = tuple(cards_of(settings.tasks))
    header = ["method", "settings", "mean loss", *tasks, "s"]
    found: list[tuple[int, float, list[str]]] = []
    for place, (method, trials) in enumerate(settings.trials.items()):
        for changes in trials:
            words = _in_words(changes)
            asked = [(method, words, settings.shots, seed) for seed in settings.seeds]
            own = [row for row in rows if _asked(row) in asked and row["task"] in tasks]
            if len(own) < len(tasks) * len(asked):
                continue
            losses = [fmean(row["loss"] for row in own if row["task"] == task) for task in tasks]
            mean, seconds = fmean(losses), fmean(row["seconds"] for row in own)
            texts = [f"{value:.3f}" for value in (mean, *losses)]
            found.append((place, mean, [method, words, *texts, f"{seconds:.0f}"]))
    found.sort(key=lambda row: row[:2])
    seeds = "one seed" if len(settings.seeds) == 1 else f"mean over {len(settings.seeds)} seeds"
    note = (
        f"Loss on validation rows of tasks held back, nats a target token, after "
        f"{settings.shots} examples; {seeds}. Lower is better."
    )
    return Table("Search", header, [row for _, _, row in found], note)


def _asked(row: Mapping[str, Any]) -> tuple[str, str, int, int]:
    return (row["method"], row["settings"], row["shots"], row["seed"])


def _in_words(changes: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested settings as section.key=value words."""
    words = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            words.append(_in_words(value, f"{prefix}{key}."))
        else:
            words.append(f"{prefix}{key}={value}")
    return " ".join(words)
