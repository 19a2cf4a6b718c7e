"""Turn records into examples and model output into answers. Knows nothing of tokens or models.

Render and parse stand together, one file for each kind of answer: ``ner`` mentions, ``relations``
links, ``qa`` letters, ``labels`` closed sets (NLI, classification), ``summarization`` free text.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from clinprompt.errors import DataError
from clinprompt.tasks.card import AnswerKind, TaskCard
from clinprompt.tasks.kinds.labels import label_words, parse_label, render_label
from clinprompt.tasks.kinds.ner import parse_spans, render_spans
from clinprompt.tasks.kinds.qa import letters, parse_choice, render_choice
from clinprompt.tasks.kinds.relations import parse_relations, render_relations
from clinprompt.tasks.kinds.summarization import parse_text, render_text
from clinprompt.tasks.records import (
    Answer,
    Example,
    LabelAnswer,
    Record,
    RelationsAnswer,
    SpansAnswer,
    TextAnswer,
)

__all__ = ["instruction_of", "make_example", "parse_answer", "render_answer"]


class _Format(NamedTuple):
    answer: type[Answer]
    render: Callable[[TaskCard, Record, Answer], str]
    parse: Callable[[TaskCard, Record, str], Answer]


_FORMATS: dict[AnswerKind, _Format] = {
    "label": _Format(LabelAnswer, render_label, parse_label),
    "choice": _Format(LabelAnswer, render_choice, parse_choice),
    "spans": _Format(SpansAnswer, render_spans, parse_spans),
    "relations": _Format(RelationsAnswer, render_relations, parse_relations),
    "text": _Format(TextAnswer, render_text, parse_text),
}
# Private-use characters around a word: a filter that would change the text changes this too.
_CUT = "\ue000Cut{}\ue001"


def make_example(card: TaskCard, record: Record, *, instruct: bool = False) -> Example:
    """Put a record into the card's words; with ``instruct``, the card's instruction goes first.

    Raises:
        DataError: the wording does not fit the record, or the answer does not fit the card.
    """
    pieces = _pieces(card, record)
    if instruct:
        pieces = (f"{instruction_of(card)}\n\n{pieces[0]}", *pieces[1:])
    return Example(
        task=card.name,
        record=record,
        pieces=pieces,
        target=None if record.answer is None else render_answer(card, record),
        choices=_choices(card, record),
        is_instructed=instruct,
    )


def instruction_of(card: TaskCard) -> str:
    """Return the card's instruction, in its labels' words.

    Raises:
        DataError: it is no template over labels.
    """
    try:
        return _compiled(card.wording.instruction.strip()).render(_label_values(card))
    except TemplateError as error:
        raise DataError(f"{card.name}: wording.instruction: {error.message}") from error


def render_answer(card: TaskCard, record: Record) -> str:
    """Write the record's answer in the card's form.

    Raises:
        DataError: the record has no answer, one of another kind, or a label the card lacks.
    """
    form = _FORMATS[card.answer]
    if not isinstance(record.answer, form.answer):
        raise DataError(
            f"{card.name}: record {record.id}: the card needs a {form.answer.__name__}, "
            f"the record has {type(record.answer).__name__}"
        )
    return form.render(card, record, record.answer)


def parse_answer(card: TaskCard, record: Record, text: str) -> Answer:
    """Read model output; what no rule can read comes back as Unparseable, never as an error."""
    return _FORMATS[card.answer].parse(card, record, text)


def _choices(card: TaskCard, record: Record) -> tuple[str, ...]:
    if card.answer == "label":
        return label_words(card)
    return letters(record) if card.answer == "choice" else ()


def _pieces(card: TaskCard, record: Record) -> tuple[str, ...]:
    """Return wording and cuttable fields in turn, in the order in which the template shows them."""
    marks = {name: _CUT.format(number) for number, name in enumerate(card.wording.cut)}
    if missing := sorted(set(marks) - set(record.fields)):
        raise DataError(
            f"{card.name}: record {record.id} lacks the field {missing[0]!r} (wording.cut)"
        )
    options = list(zip(letters(record), record.options, strict=True)) if record.options else []
    try:
        template = _compiled(card.wording.template.strip())
        values = {**_label_values(card), **record.fields, "options": options, **marks}
        words = template.render(values)
    except TemplateError as error:
        raise DataError(f"{card.name}: wording.template: {error.message}") from error
    for name, mark in marks.items():
        if words.count(mark) != 1:
            raise DataError(
                f"{card.name}: wording.template shows the field {name!r} (wording.cut) "
                f"{words.count(mark)} times unchanged; it must do so exactly once"
            )
    shown = {mark: record.fields[name] for name, mark in marks.items()}
    parts = re.split(f"({'|'.join(map(re.escape, shown))})", words)
    return tuple(shown.get(part, part) for part in parts)


def _label_values(card: TaskCard) -> dict[str, str]:
    """Return what a template may call ``labels``: "a, b, c", and ``either``: "a, b or c"."""
    words = label_words(card)
    *most, last = words or ("",)
    return {
        "labels": ", ".join(words),
        "either": f"{', '.join(most)} or {last}" if most else last,
    }


@cache
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    return environment.from_string(template)
