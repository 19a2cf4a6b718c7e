"""Turn records into examples and model output into answers. Knows nothing of tokens or models."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.kind import Card
from clinprompt.tasks.kinds.labels import label_words
from clinprompt.tasks.kinds.qa import letters
from clinprompt.tasks.kinds.table import kind_of
from clinprompt.tasks.kinds.templates import names_in, render
from clinprompt.tasks.records import Answer, Example, Record, Unparseable

# A word between private-use characters: a filter that changes the text changes this word, too.
_CUT = "\ue000Cut{}\ue001"


def make_example(card: Card, record: Record, *, paraphrase: int = 0) -> Example:
    """Put a record into the card's words, together with one of the card's instructions.

    Raises:
        DataError: the wording does not fit the record, or the answer does not fit the card.
    """
    return Example(
        task=card.name,
        record=record,
        pieces=_pieces(card, record),
        target=None if record.answer is None else render_answer(card, record),
        choices=kind_of(card).choices(card, record),
        instruction=instruction_of(card, paraphrase),
    )


def instruction_of(card: Card, paraphrase: int = 0) -> str:
    """Return one of the card's instructions, in its labels' words; 0 is the usual one.

    Raises:
        DataError: it is not a template over labels.
    """
    instruction = card.wording.instructions[paraphrase]
    try:
        return render(instruction.strip(), _label_values(card))
    except TemplateError as error:
        part = f"paraphrases[{paraphrase - 1}]" if paraphrase else "instruction"
        raise _wrong_template(card, part, error, _label_values(card)) from error


def fields_of(card: Card) -> frozenset[str]:
    """Return the fields of a record that the card's template shows.

    Raises:
        DataError: the template is not valid.
    """
    try:
        names = names_in(card.wording.template.strip())
    except TemplateError as error:
        raise _wrong_template(card, "template", error, {}) from error
    return frozenset(names) - {"options", *_label_values(card)}


def render_answer(card: Card, record: Record) -> str:
    """Write the record's answer in the card's form.

    Raises:
        DataError: the record has no answer, one of another kind, or a label the card lacks.
    """
    kind = kind_of(card)
    if not isinstance(record.answer, kind.answer):
        raise DataError(
            f"{card.name}: record {record.id}: the card needs a {kind.answer.__name__}, "
            f"the record has {type(record.answer).__name__}"
        )
    return kind.render(card, record, record.answer)


def parse_answer(card: Card, record: Record, text: str) -> Answer:
    """Read model output; return Unparseable for what no rule can read, never raise."""
    return kind_of(card).parse(card, record, text)


def answer_to_json(card: Card, record: Record, answer: Answer) -> dict[str, Any]:
    """Return an answer as plain JSON values; mentions have character offsets and their text."""
    if isinstance(answer, Unparseable):
        return {"unparseable": answer.text}
    return kind_of(card).to_json(record, answer)


def _pieces(card: Card, record: Record) -> tuple[str, ...]:
    """Return wording and fields that may be cut, alternating, in the order of the template."""
    marks = {name: _CUT.format(number) for number, name in enumerate(card.wording.cut)}
    if missing := sorted(set(marks) - set(record.fields)):
        raise DataError(
            f"{card.name}: record {record.id} lacks the field {missing[0]!r} that the card's "
            f"wording.cut names; it has {', '.join(map(repr, record.fields)) or 'no fields'}; "
            f"rename or add the field, as every record needs {missing[0]!r}"
        )
    options = list(zip(letters(record), record.options, strict=True)) if record.options else []
    values = {**record.fields, **_label_values(card), "options": options, **marks}
    try:
        words = render(card.wording.template.strip(), values)
    except TemplateError as error:
        raise _wrong_template(card, "template", error, values) from error
    for name, mark in marks.items():
        if words.count(mark) != 1:
            raise DataError(
                f"{_origin(card)}: wording.template shows the field {name!r} (wording.cut) "
                f"{words.count(mark)} times unchanged; it must do so exactly once"
            )
    if not marks:
        return (words,)
    shown = {mark: record.fields[name] for name, mark in marks.items()}
    parts = re.split(f"({'|'.join(map(re.escape, shown))})", words)
    return tuple(shown.get(part, part) for part in parts)


def _wrong_template(
    card: Card, part: str, error: TemplateError, values: Mapping[str, object]
) -> DataError:
    """Return an error that says where a template of a card is wrong, and what it may name."""
    line = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
    known = ""
    if isinstance(error, UndefinedError):
        also = ", or add the field to every record" if part == "template" else ""
        known = f"; it may name {', '.join(sorted(values))}; correct it{also}"
    return DataError(f"{_origin(card)}: wording.{part}: {error.message}{line}{known}")


def _origin(card: Card) -> str:
    """Return the file of a card that was read from one, else the name of the task."""
    return str(card.path) if card.path.name else card.name


def _label_values(card: Card) -> dict[str, str]:
    """Return the values of ``labels`` ("a, b, c") and ``either`` ("a, b or c") in a template."""
    words = label_words(card)
    *most, last = words or ("",)
    return {
        "labels": ", ".join(words),
        "either": f"{', '.join(most)} or {last}" if most else last,
    }
