"""Build cards, records and tasks for tests. The files that the cards name do not exist."""

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Record

METRICS = {"spans": "entity_f1", "relations": "relation_f1", "text": "rouge_l"}
SOURCE = 'source = { repository = "here", license = "none stated", license_allows = "unstated" }\n'
CARD_TEXT = f"""
name = "mine"
type = "nli"
answer = "label"
title = "Mine"
metric = "accuracy"
{SOURCE}reader = {{ name = "table", row = {{ id = "n", fields = {{ text = "t" }}, label = "l" }} }}
files = {{ train = ["a.csv"] }}
labels = {{ 1 = "yes", 0 = "no" }}
[wording]
version = 1
template = "{{{{ text }}}} yes or no:"
instruction = "Write yes or no."
"""


def card_of(type_, answer, metric="", **changes):
    """Return a card of JSON Lines with the field ``text``; ``changes`` are more of its settings."""
    return TaskCard.model_validate(
        {
            "name": "own",
            "type": type_,
            "answer": answer,
            "title": "Own",
            "metric": metric or METRICS.get(answer, "accuracy"),
            "source": {"repository": "own", "license": "own"},
            "reader": {"name": "jsonl", "row": {"fields": {"text": "text"}}},
            "files": {"train": ["a.jsonl"]},
            "wording": {"version": 1, "template": "{{ text }}:", "instruction": "Answer."},
            **changes,
        }
    )


def record_of(name, text, answer=None, options=()):
    """Return a record with the field ``text``."""
    return Record(name, {"text": text}, answer, options)


def records_of(answers, *, text="note", **fields):
    """Return a record for each answer; their ids are 0, 1, 2 ..."""
    return tuple(
        Record(str(number), {"text": text, **fields}, answer)
        for number, answer in enumerate(answers)
    )


def wording_of(template, *, cut="text"):
    """Return the wording of a card: its template, and which of its fields may be cut."""
    return {"version": 1, "template": template, "cut": cut, "instruction": "Do it."}


def data_of(card, *, train=(), validation=(), test=()):
    """Return a task whose splits hold these records."""
    splits = {"train": train, "validation": validation, "test": test}
    return TaskData(card, {name: tuple(records) for name, records in splits.items()})
