"""A made-up card that loads nothing, for tests of what cards say. Small fakes in plain sight."""

from clinprompt.tasks.card import TaskCard


def card_of(type_, answer, metric, **changes):
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
