"""Choose the settings of each method from the trials of a search. Knows nothing of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

SEARCH = Path(__file__).resolve().parent / "search-few-shots.toml"
TRIALS = 4
# The settings that each method's best trial gives to the comparisons.
SETTINGS = {
    "adapted-metaprompt": ("adapt.shared_rate", "adapt.factor_rate"),
    "prompt-tuning": ("baselines.prompt_rate",),
    "adapted-factors": ("adapt.factor_rate",),
    "lora": ("baselines.lora_rate",),
}


def trials_of(method: str) -> list[str]:
    """Return the trials of a method, as METHOD@VARIANT."""
    return [f"{method}@{one}" for one in _variants(method)]


def best_trial(
    method: str, cells: Sequence[Mapping[str, Any]], *, search: Path = SEARCH
) -> dict[str, Any]:
    """Return the settings with the lowest mean rank over tasks on which all trials have a score.

    ``search`` is the config of the search. Equal scores share their mean rank. Without such a task
    the config's own settings stay.
    """
    names = [f"{method}@{one}" for one in _variants(method)]
    scores = {(cell["target"], cell["method"]): float(cell["value"]) for cell in cells}
    tasks = sorted({task for task, _ in scores})
    tasks = [task for task in tasks if all((task, name) in scores for name in names)]
    if not tasks:
        return {"settings": {}, "tasks": [], "note": "not searched: the config's own settings"}
    ranks: dict[str, list[float]] = {name: [] for name in names}
    for task in tasks:
        for name, rank in zip(names, _ranks([scores[task, one] for one in names]), strict=True):
            ranks[name].append(rank)
    means = {name: fmean(own) for name, own in ranks.items()}
    best = min(names, key=lambda name: (means[name], -fmean(scores[t, name] for t in tasks)))
    settings = _settings_of(best.partition("@")[2], search)
    return {
        "settings": {key: settings[key] for key in SETTINGS[method]},
        "tasks": tasks,
        "mean ranks": means,
        "scores": {name: [scores[task, name] for task in tasks] for name in names},
    }


def _ranks(scores: Sequence[float]) -> list[float]:
    """Return the rank of each score, 1 for the highest; equal ones share the mean of theirs."""
    return [
        sum(other > score for other in scores) + (1 + scores.count(score)) / 2 for score in scores
    ]


def _variants(method: str) -> list[str]:
    prefix = "factors-" if method == "adapted-factors" else ""
    return [f"{prefix}{number}" for number in range(1, TRIALS + 1)]


def _settings_of(variant: str, search: Path) -> dict[str, float]:
    from clinprompt.settings.run import load_config  # noqa: PLC0415 - --help needs no package

    groups = load_config(search).variants[variant]
    return {f"{group}.{key}": value for group, own in groups.items() for key, value in own.items()}
