"""Write annotated records as a JSON export of Label Studio. Knows no models.

The reader of such exports reads the same records back: mentions and links with their offsets,
labels and texts. One exception: ends of links without a type are called ``Mention``, because a
region needs a label.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clinprompt.tasks.records import (
    Answer,
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    spans_of,
)

_UNTYPED = "Mention"
REGIONS, CHOICE, WRITTEN = "label", "choice", "answer"  # names of the controls
_TEXT = "text"


def label_studio_tasks(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the tasks of an export, one for each record, in order.

    A record is named by ``id`` in its data, which also has its fields. Each has one annotation; a
    record whose answer lists nothing has one without results.
    """
    return [_task(number, record) for number, record in enumerate(records, start=1)]


def _task(number: int, record: Record) -> dict[str, Any]:
    data: dict[str, Any] = {"id": record.id, **record.fields}
    if record.options:
        data["options"] = list(record.options)
    result = list(_results(record))
    return {"id": number, "data": data, "annotations": [{"id": number, "result": result}]}


def _results(record: Record) -> Iterator[dict[str, Any]]:
    match record.answer:
        case SpansAnswer() | RelationsAnswer():
            yield from _listed(record)
        case LabelAnswer(label):
            yield _result(CHOICE, _control_on(record), "choices", {"choices": [label]})
        case TextAnswer(text):
            yield _result(WRITTEN, _control_on(record), "textarea", {"text": [text]})


def _listed(record: Record) -> Iterator[dict[str, Any]]:
    keys = {span: f"m{number}" for number, span in enumerate(_mentions(record.answer), start=1)}
    for span, key in keys.items():
        value = {
            "start": span.start,
            "end": span.end,
            "text": record.text[span.start : span.end],
            "labels": [span.type or _UNTYPED],
        }
        yield {"id": key, **_result(REGIONS, _TEXT, "labels", value)}
    links = record.answer.relations if isinstance(record.answer, RelationsAnswer) else ()
    for link in dict.fromkeys(links):
        yield _relation(link, keys)


def _relation(link: Relation, keys: Mapping[Span, str]) -> dict[str, Any]:
    return {
        "type": "relation",
        "from_id": keys[link.head],
        "to_id": keys[link.tail],
        "direction": "right",
        "labels": [link.type],
    }


def _mentions(answer: Answer | None) -> list[Span]:
    return sorted(set(spans_of(answer)))


def _control_on(record: Record) -> str:
    return _TEXT if _TEXT in record.fields else next(iter(record.fields))


def _result(control: str, on: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"from_name": control, "to_name": on, "type": kind, "value": dict(value)}
