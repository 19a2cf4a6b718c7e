"""The table of a search: how the trials of each method are judged, the best first."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from clinprompt.evaluation.report.score_tables import Table
from clinprompt.jobs.comparison.trials import in_words, key_of
from clinprompt.runs.suite_data import cards_of
from clinprompt.settings.groups import JudgedBy, SearchSettings


def table_of_trials(settings: SearchSettings, finished: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return how trials that are finished on all tasks and seeds are judged, the best first."""
    tasks = tuple(cards_of(settings.tasks))
    rows = []
    for method, trials in settings.trials.items():
        complete: dict[str, list[Mapping[str, Any]]] = {}
        for changes in trials:
            keys = [
                key_of(method, changes, task, settings.shots, seed)
                for task in tasks
                for seed in settings.seeds
            ]
            if all(key in finished for key in keys):
                complete[in_words(changes)] = [finished[key] for key in keys]
        rows += _method_rows(method, complete, tasks, settings.judged_by)
    seeds = "one seed" if len(settings.seeds) == 1 else f"mean over {len(settings.seeds)} seeds"
    what = (
        "Scores on validation rows of held-out tasks, by the metric of each task"
        if settings.judged_by == "score"
        else "Losses on validation rows of held-out tasks"
    )
    note = (
        f"{what}, after {settings.shots} examples; {seeds}. Rank: of the trials of a method on a "
        "task (1 is best, equal ones share their mean rank), mean over tasks; the lowest is "
        "chosen. Share: the score (or the probability of a target token) divided by the best one "
        "of the method on that task, mean over tasks; it decides between equal ranks. Loss: nats a "
        "target token."
    )
    header = ["method", "settings", "rank", "share", *tasks, "mean loss", "s"]
    return Table("Search", header, rows, note)


def _method_rows(
    method: str,
    complete: Mapping[str, Sequence[Mapping[str, Any]]],
    tasks: Sequence[str],
    judged_by: JudgedBy,
) -> list[list[str]]:
    """Return a row for each trial of a method, the best first."""
    found = {
        words: [
            fmean(judged_value(line[judged_by]) for line in own if line["task"] == task)
            for task in tasks
        ]
        for words, own in complete.items()
    }
    scores = found
    if judged_by == "loss":
        scores = {words: [math.exp(-loss) for loss in own] for words, own in found.items()}
    ranks, shares = mean_ranks_and_shares(scores)
    rows = []
    for words in sorted(scores, key=lambda one: (ranks[one], -shares[one])):
        own = complete[words]
        loss, seconds = (
            fmean(judged_value(line[name]) for line in own) for name in ("loss", "seconds")
        )
        numbers = [f"{value:.3f}" for value in (*found[words], loss)]
        shown = [f"{ranks[words]:.2f}", f"{shares[words]:.2f}"]
        rows.append([method, words, *shown, *numbers, f"{seconds:.0f}"])
    return rows


def judged_value(value: float | None) -> float:
    """Return a score or loss of a line; a trial that diverged has an infinite loss."""
    return math.inf if value is None else value


def mean_ranks_and_shares(
    scores: Mapping[str, Sequence[float]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean rank over tasks of each trial, and its mean share of the best score.

    ``scores`` has the score of each trial on each task. Equal scores get the mean of their ranks.
    On a task where all scores are 0, every share is 1.
    """
    by_task = [list(own) for own in zip(*scores.values(), strict=True)]
    ranks: dict[str, float] = {}
    shares: dict[str, float] = {}
    for words, own in scores.items():
        pairs = list(zip(own, by_task, strict=True))
        ranks[words] = fmean(
            sum(other > value for other in task) + (1 + task.count(value)) / 2
            for value, task in pairs
        )
        shares[words] = fmean(value / max(task) if max(task) > 0 else 1.0 for value, task in pairs)
    return ranks, shares
