"""Write a first card for a user's task, each line explained. Knows no files but by their names.

The card is a draft: whoever knows the task mends the words. ``tasks/card.py`` reads it.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.tasks.card import METRICS, AnswerKind, Metric, Resplit, Split, TaskType
from clinprompt.tasks.records import one_line

_NEGATIVE = frozenset({"0", "no", "false", "none", "negative", "other", "no relation", "na"})
_NAMES = {"0": "no", "1": "yes", "false": "no", "true": "yes"}
_BARE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WIDTH = 90
_OF_LABELS = '# {{ labels }} and {{ either }} are the words above: "a, b, c" and "a, b or c".\n'
_INTRODUCTION = """\
# A task of your own, drafted by `clinprompt tasks new`. Mend its words, then look at it again with
# `clinprompt tasks show FOLDER`.
"""


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is known of a task before it has a card."""

    name: str
    type: TaskType
    answer: AnswerKind
    reader: Mapping[str, Any]
    fields: tuple[str, ...]
    files: Mapping[Split, tuple[str, ...]]
    labels: tuple[str, ...]
    resplit: Resplit | None = None


def label_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a word for each label, made from it: "adverse event" for ADVERSE_EVENT.

    No two words are the same; 0 and 1, true and false become no and yes where both are there.
    """
    known = tuple(labels)
    is_yes_no = {label.casefold() for label in known} in ({"0", "1"}, {"true", "false"})
    words: dict[str, str] = {}
    for number, label in enumerate(known, start=1):
        word = _NAMES[label.casefold()] if is_yes_no else _words(label) or f"label {number}"
        words[label] = _free(word, {other.casefold() for other in words.values()})
    return words


def _free(word: str, used: Collection[str]) -> str:
    free, number = word, 2
    while free.casefold() in used:
        free, number = f"{word} ({number})", number + 1
    return free


def write_card(sketch: Sketch) -> str:
    """Return the card as TOML."""
    parts = [_INTRODUCTION, _head(sketch), _reader(sketch.reader), _files(sketch)]
    if sketch.resplit:
        parts.append(_resplit(sketch.resplit))
    names = label_names(sketch.labels)
    if names:
        parts.append(_labels(names))
    parts.append(_wording(sketch, names))
    return "\n".join(parts)


def _head(sketch: Sketch) -> str:
    metric = _metric(sketch)
    lines: list[tuple[str, Any, str]] = [
        ("name", sketch.name, "letters, digits, '.', '_' and '-'"),
        ("type", sketch.type, "ner | re | qa | nli | summarization"),
        ("answer", sketch.answer, "spans | relations | label | choice | text"),
        ("title", sketch.name, "one line for lists and reports: what is asked of which texts"),
        ("metric", metric, _metric_note(sketch.answer, metric)),
    ]
    if sketch.type == "re":
        setting = "end-to-end" if sketch.answer == "relations" else "gold-entities"
        lines.append(
            ("setting", setting, "gold-entities where mentions or a marked pair are given")
        )
    if metric == "positive_f1":
        lines.append(("positive", _positive(sketch.labels), "the labels that the metric counts"))
    source = [
        ("repository", "own", "where the data comes from"),
        ("license", "own", "who may use it"),
    ]
    return "\n".join([*_lines(lines), "", "[source]", *_lines(source), ""])


def _metric(sketch: Sketch) -> Metric:
    """Return the metric to begin with: the usual one, F1 for labels that are not equally wanted."""
    if sketch.type == "re" and sketch.answer == "label":
        return "positive_f1" if _positive(sketch.labels) else "macro_f1"
    if sketch.type == "qa" and sketch.answer == "text":
        return "token_f1"
    return METRICS[sketch.answer][0]


def _metric_note(answer: AnswerKind, metric: Metric) -> str:
    others = [other for other in METRICS[answer] if other != metric]
    return f"or {' or '.join(others)}" if others else "the one metric for this answer"


def _positive(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels beside the one that says that nothing is there, where there is such."""
    found = tuple(label for label in labels if _words(label) not in _NEGATIVE)
    return found if len(found) < len(labels) else ()


def _reader(reader: Mapping[str, Any]) -> str:
    notes = {
        "name": "the format of the files; each reader has settings of its own",
        "row": "what becomes of which column: fields, id, group, label, text, options",
        "spans": "the key with the list of mentions",
        "view": "which task the annotation makes: entities | relations | pairs",
        "tag": "the column of the tags; the first is 0",
        "bare_type": "the type of tags that name none",
    }
    lines = [(key, value, notes.get(key, "")) for key, value in reader.items()]
    return "\n".join(["[reader]", *_lines(lines), ""])


def _files(sketch: Sketch) -> str:
    note = 'paths from this folder, or patterns such as "notes/*.ann"'
    lines = [(split, paths, note) for split, paths in sketch.files.items()]
    return "\n".join(["[files]", *_lines(lines), ""])


def _resplit(resplit: Resplit) -> str:
    values = {"validation": resplit.validation, "test": resplit.test}
    lines: list[tuple[str, Any, str]] = [
        (split, share, "the share of groups to move there")
        for split, share in values.items()
        if share
    ]
    lines.append(("seed", resplit.seed, "another number, another split"))
    return "\n".join(
        [
            "[resplit] # makes the splits that no file is named for; a group stays together",
            *_lines(lines),
            "",
        ]
    )


def _labels(names: Mapping[str, str]) -> str:
    lines = [f"{_key(label)} = {toml_value(word)}" for label, word in names.items()]
    head = "[labels] # each label of the data = the plain word that the model reads and writes"
    return "\n".join([head, *lines, ""])


def _wording(sketch: Sketch, names: Mapping[str, str]) -> str:
    template, instruction = _wordings(sketch, len(names))
    long = tuple(name for name in sketch.fields if name != "question" or len(sketch.fields) == 1)
    cut = toml_value(long if len(long) > 1 else long[0])
    return f'''[wording]
version = 1 # raise it when the wording changes
# The input, a jinja template over {", ".join(sketch.fields)}. It ends where the answer begins.
{_OF_LABELS if names else ""}\
template = """
{template}"""
cut = {cut} # its middle is cut where the input is too long
# Stands before the input where a model is asked that was not trained for the task.
instruction = """
{instruction}"""
'''


def _wordings(sketch: Sketch, num_labels: int) -> tuple[str, str]:
    """Return the template and the instruction for a kind of answer."""
    labels, either = "{{ labels }}", "{{ either }}"
    none = "Write none when there is none."
    kind = "qa" if sketch.answer == "text" and sketch.type == "qa" else sketch.answer
    form = "" if num_labels == 1 else " as `type: mention`,"
    end, instruction = {
        "spans": (
            f"Entities ({labels}):",
            f"Write each mention of {either} on its own line,{form}\n"
            f"in order of appearance. {none}",
        ),
        "relations": (
            f"Links ({labels}):",
            "Write each link on its own line as `type: head | tail`,\n"
            f"where type is {either}. {none}",
        ),
        "label": (f"{either}:", f"Read the text. Write only {either}."),
        "choice": (
            "{% for letter, option in options %}{{ letter }}. {{ option }}\n{% endfor %}Answer:",
            "Answer the multiple-choice question. Write only the letter of the right option.",
        ),
        "qa": ("Answer:", "Answer the question in a few words."),
        "text": ("Summary:", "Sum up the text in a few sentences."),
    }[kind]
    fields = (f"{_lead(name)}{{{{ {name} }}}}" for name in sketch.fields)
    return "\n".join([*fields, end]), instruction


def _lead(name: str) -> str:
    return "" if name in ("text", "context") else f"{name.capitalize()}: "


def _words(label: str) -> str:
    """Return a label's words: parted at marks and at capitals that follow small letters."""
    parted = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-Z][a-z])", " ", label)
    return one_line(re.sub(r"[\W_]+", " ", parted).lower())


def _lines(settings: Sequence[tuple[str, Any, str]]) -> list[str]:
    """Return ``key = value # note`` lines, the note above where the line would be long."""
    lines = []
    for key, value, note in settings:
        setting = f"{_key(key)} = {toml_value(value)}"
        is_long = len(setting) + len(note) > _WIDTH
        lines += (
            [f"# {note}", setting] if note and is_long else [f"{setting} # {note}".rstrip(" #")]
        )
    return lines


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def toml_value(value: Any) -> str:  # noqa: ANN401 - whatever a card can hold
    """Return a value as a card writes it."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)
