"""Build cards and records for tests. The files that the cards name do not exist."""

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.records import Record

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


def card_of(type_, answer, metric, **changes):
    """Return a card of JSON Lines with the field ``text``; ``changes`` are more of its settings."""
    return TaskCard.model_validate(
        {
            "name": "own",
            "type": type_,
            "answer": answer,
            "title": "Own",
            "metric": metric,
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
