"""Audit prompts of the default backbone: one that learned its rows by heart, and one of `adapt`.

The first is a control: the labels of its task are drawn at random, so they can only be learned by
heart, and the attack must find the rows. Before training, it must find nothing. The second is
trained with the default settings, and shows what a user may expect. Continues where it was
stopped. Writes docs/results/bench/audit.json and .md.

Run: nice python bench/audit.py RUNS [NAME ...]    (a folder for runs; which of the two)
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

import clinprompt
from clinprompt.backbone.load import load_backbone
from clinprompt.runs.workspace import environment
from clinprompt.settings.defaults import DEFAULT_BACKBONE

CODES = "codes"
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "bench"


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt to train and to audit; the task ``codes`` is made for it."""

    task: str
    shots: int
    shadows: int
    settings: dict[str, Any] = field(default_factory=dict)


CASES = {
    "by heart": Case(
        CODES,
        16,
        8,
        {"adapt.steps": 500, "adapt.rows": 1, "adapt.validate_every": 0},
    ),
    "default settings": Case("practice-nli-social", 64, 16),
}


def main() -> None:
    """Train and audit each missing case."""
    path, runs = RESULTS / "audit.json", Path(sys.argv[1])
    found = json.loads(path.read_text()) if path.is_file() else {}
    for name in sys.argv[2:] or CASES:
        if name not in found.get("audits", {}):
            audit = measure(CASES[name], runs / name.replace(" ", "-"))
            audits = {**found.get("audits", {}), name: audit}
            found = {"environment": environment(load_backbone(DEFAULT_BACKBONE)), "audits": audits}
            save(path, found)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Return the audit of a prompt that is trained as the case says."""
    task = codes(folder / CODES) if case.task == CODES else case.task
    prompt = clinprompt.adapt(
        task,
        shots=case.shots,
        settings=case.settings,
        folder=folder / "run",
        reporter=_Lines(),
    )
    audit = clinprompt.audit(
        prompt.folder,
        task,
        shadows=case.shadows,
        folder=folder / "audit",
        reporter=_Lines(),
    )
    return audit.to_dict()


def codes(folder: Path) -> str:
    """Return the folder of a task with random texts and random labels."""
    if not folder.is_dir():
        draw = Random(1)
        texts = sorted({"".join(draw.choices(ascii_lowercase, k=8)) for _ in range(150)})
        folder.parent.mkdir(parents=True, exist_ok=True)
        table = folder.with_suffix(".csv")
        lines = [f"{text},{draw.choice(('yes', 'no'))}" for text in texts]
        table.write_text("\n".join(["text,label", *lines]) + "\n")
        clinprompt.new_task(table, "classification", folder=folder)
    return str(folder)


class _Lines:
    """A reporter that prints one line for each phase."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        print(f"{what}: {done} of {total} steps", flush=True)

    def advance(self, *, loss: float | None = None, tokens_per_second: float = 0.0) -> None:
        pass

    def say(self, message: str) -> None:
        print(message, flush=True)


def save(path: Path, found: dict[str, Any]) -> None:
    """Write the results, and a page that shows them."""
    path.write_text(json.dumps(found, indent=2) + "\n")
    lines = [
        "# What prompts tell about the rows that they were trained on\n",
        "Likelihood-ratio attack with shadow prompts (docs/audit.md), 95 % bootstrap intervals. "
        "A guess has an AUC of 0.5 and finds 0.05 of the rows at 5 % false alarms. The control is "
        "the same attack on the prompt before it was trained.\n",
        "| prompt | task | rows | steps | shadows | AUC | found at 5 % | control: AUC |"
        " loss, own rows | loss, others |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in found["audits"].items():
        shown = (
            _shown(one["attack"]["auc"]),
            _shown(one["attack"]["true_positives"]),
            _shown(one["control"]["auc"]),
        )
        rows = f"{one['num_members']} of {one['num_members'] + one['num_others']}"
        lines.append(
            f"| {name} | {one['task']} | {rows} | {one['steps']} | {one['num_shadows']} | "
            f"{' | '.join(shown)} | {one['loss_of_members']:.3f} | {one['loss_of_others']:.3f} |"
        )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _shown(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


if __name__ == "__main__":
    main()
