"""Requests for the bench of the server, each with a marker of its own, and checks of the answers.

The notes are synthetic: two of the practice notes each, about as long as the rows of open21. The
marker is added as a drug that the note names, so that swapped answers can be found.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import clinprompt
from clinprompt.backbone import scheduler
from clinprompt.backbone.constraint import Constraint
from clinprompt.backbone.decode import answer_all
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.backbone.scheduler import Ask
from clinprompt.jobs.task_table import TaskTable
from clinprompt.prompts.artifact import make_artifact
from clinprompt.prompts.initializers import from_vocabulary
from clinprompt.prompts.store import Store
from clinprompt.runs.manifest import manifest_of
from clinprompt.serving.state import answer_values
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.records import Record

TASKS = (
    "practice-ner-drugs",
    "practice-ner-problems",
    "practice-re-dose",
    "practice-nli-history",
    "practice-qa-choice",
    "practice-sum-plan",
)
ROUNDING = 0.01  # more than a probability differs by rounding
_MARKER = re.compile(r"mk\d{5}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: tasks about one note, whose marker is also the request's id."""

    marker: str
    tasks: tuple[str, ...]
    record: Record

    def body(self) -> dict[str, Any]:
        """Return the body of the HTTP request."""
        fields = dict(self.record.fields)
        return {
            "id": self.marker,
            "tasks": list(self.tasks),
            "text": fields.pop("text"),
            "fields": fields,
            "options": list(self.record.options),
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """The offline answers to a request as the server would write them.

    ``tokens`` counts those of each answer, by part.
    """

    values: list[dict[str, Any]]
    tokens: list[list[int]]
    num_input_tokens: int


def shipped_store(folder: Path) -> Path:
    """Save the prompt that the metaprompt in the package gives for each task without training."""
    for task in TASKS:
        clinprompt.adapt(task, shots=0, folder=folder)
    return folder / "store"


def front_store(folder: Path) -> Path:
    """Save an untrained prompt in front of the input for each task, with the default settings."""
    config = check_config({"name": "served"}, source="this bench")
    backbone = load_backbone(config.backbone)
    generator = torch.Generator().manual_seed(0)
    for task in TASKS:
        manifest = manifest_of(
            config, backbone, kind="prompt", name=task, method="none", cards=[find_card(task)]
        )
        vectors = from_vocabulary(
            backbone.embeddings, length=config.prompt.length, generator=generator
        )
        Store(folder).save(make_artifact(manifest, {"vectors": vectors}))
    return folder


def mixed_requests(table: TaskTable, count: int, *, tasks_each: int = 1) -> list[Asked]:
    """Return requests of all tasks of a store in random order, on notes of their test sets.

    With several tasks each, the others are drawn from those that read the same fields.
    """
    draw = Random(0)
    notes = {
        task.name: clinprompt.load_task(task.loaded.card.name).splits["test"] for task in table
    }
    fields = {name: set(rows[0].fields) for name, rows in notes.items()}
    alike = {name: [one for one in fields if fields[one] == fields[name]] for name in fields}
    names = [name for name in table.names if len(alike[name]) >= tasks_each]
    asked = []
    for number in range(count):
        task = names[number % len(names)]
        others = draw.sample([one for one in alike[task] if one != task], tasks_each - 1)
        pair = draw.sample(notes[task], 2)
        asked.append(_marked(*pair, (task, *others), f"mk{number:05d}"))
    draw.shuffle(asked)
    return asked


def answer_offline(
    backbone: Backbone, table: TaskTable, asked: Sequence[Asked]
) -> dict[str, Answered]:
    """Answer all requests as ``clinprompt predict`` does; return the answers by marker."""
    questions = [[table[task].question(one.record) for task in one.tasks] for one in asked]
    answer_all(backbone, [ask for own in questions for question in own for ask in question.asks])
    found = {}
    for one, own in zip(asked, questions, strict=True):
        values = [
            answer_values(table[task], question.prediction())
            for task, question in zip(one.tasks, own, strict=True)
        ]
        tokens = [list(map(_num_tokens, question.asks)) for question in own]
        num_input_tokens = sum(len(ask.row.input_ids) for q in own for ask in q.asks)
        found[one.marker] = Answered(json.loads(json.dumps(values)), tokens, num_input_tokens)
    return found


def is_same(given: Sequence[dict[str, Any]], expected: Answered) -> bool:
    """Return whether answers are the offline ones; probabilities may differ by rounding."""
    return bool(_without_probabilities(given) == _without_probabilities(expected.values))


def is_swapped(asked: Asked, response: dict[str, Any], expected: Answered) -> bool:
    """Return whether answers belong to another request.

    They do if the id or tasks are others, if they have the marker of another note (unless the
    offline answers have it as well), if mentions are not at their places in the note, or if they
    are the offline answers with clearly other probabilities, which hardly two notes share.
    """
    given = response["answers"]
    known = set(_MARKER.findall(json.dumps(expected.values))) | {asked.marker}
    return (
        (response["id"], [one["task"] for one in given]) != (asked.marker, list(asked.tasks))
        or not set(_MARKER.findall(json.dumps(given))) <= known
        or any(
            asked.record.text[one["start"] : one["end"]] != one["text"] for one in _mentions(given)
        )
        or (is_same(given, expected) and _probability_gap(given, expected.values) > ROUNDING)
    )


def smallest_gap(backbone: Backbone, table: TaskTable, asked: Asked) -> float:
    """Return the smallest gap between the two best logits while each answer is written alone."""
    asks = [ask for task in asked.tasks for ask in table[task].question(asked.record).asks]
    gaps = []

    def noted(logits: Tensor, rules: Sequence[Constraint | None]) -> Tensor:
        allowed = constrain(logits, rules)
        best, second = allowed[0].topk(2).values.tolist()
        gaps.append(best - second)
        return allowed

    constrain = scheduler.constrain
    with patch.object(scheduler, "constrain", noted):
        for ask in asks:
            answer_all(backbone, [ask])
    for ask in asks:
        if ask.choices:
            best, second = sorted(ask.scores)[:-3:-1]
            gaps.append(best - second)
    return min(gaps)


def _marked(record: Record, other: Record, tasks: tuple[str, ...], marker: str) -> Asked:
    """Return a request about a record, to whose note the text of another is added."""
    text = f"{record.text} {other.text} Takes {marker} 20 mg daily."
    fields = {**record.fields, "text": text}
    return Asked(marker, tasks, replace(record, id=marker, fields=fields, answer=None))


def _num_tokens(ask: Ask) -> int:
    """Return the number of tokens that a model without choices would write, with the end token."""
    if ask.choices:
        return len(ask.choices[ask.scores.index(max(ask.scores))])
    return min(len(ask.written.ids) + 1, ask.limit)


def _without_probabilities(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {k: _without_probabilities(v) for k, v in value.items() if k != "probability"}
    if isinstance(value, list):
        return [_without_probabilities(one) for one in value]
    return value


def _probability_gap(given: Any, expected: Any) -> float:  # noqa: ANN401 - JSON
    """Return the largest difference of probabilities between answers that are equal otherwise."""
    pairs = zip(_probabilities(given), _probabilities(expected), strict=True)
    return max((abs(one - other) for one, other in pairs), default=0.0)


def _probabilities(value: Any) -> Iterator[float]:  # noqa: ANN401 - JSON
    """Yield every probability in an answer, in order."""
    if isinstance(value, dict):
        for name in sorted(value):
            if name == "probability":
                yield value[name]
            else:
                yield from _probabilities(value[name])
    elif isinstance(value, list):
        for one in value:
            yield from _probabilities(one)


def _mentions(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield every mention in an answer."""
    if isinstance(value, dict) and {"start", "end", "text"} <= set(value):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _mentions(one)
