"""Write a first card for a user's task with a comment on every line. Opens no files.

The card is a draft: the user corrects its words. ``tasks/card.py`` reads it.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clinprompt.tasks.card import AnswerKind, TaskType
from clinprompt.tasks.card_parts import Resplit, Split
from clinprompt.tasks.draft.instructions import instructions_for
from clinprompt.tasks.kinds import KINDS
from clinprompt.tasks.records import one_line

_NEGATIVE = frozenset({"0", "no", "false", "none", "negative", "other", "no relation", "na"})
_NAMES = {"0": "no", "1": "yes", "false": "no", "true": "yes"}
_BARE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WIDTH = 90
_OF_LABELS = '# {{ labels }} and {{ either }} are the words above: "a, b, c" and "a, b or c".\n'
_INTRODUCTION = """\
# A task drafted by `clinprompt tasks new`. Correct its words, then look at the result with
# `clinprompt tasks show FOLDER`.
"""
_FILES_NOTE = 'paths from this folder, or patterns such as "notes/*.ann"'
_RESPLIT = "# Makes the splits that have no file; a group stays together.\n[resplit]"
_LABELS = "# Label in the data = the word that the model reads and writes.\n[labels]"
_READER_NOTES = {
    "name": "the format of the files; each reader has its own settings",
    "row": "which column becomes what: fields, id, group, label, text, options",
    "spans": "the key with the list of mentions",
    "view": "which task the annotation makes: entities | relations | pairs",
    "bare_type": "the type of tags that name none",
}
_Setting = tuple[str, Any, str]  # key, value and note
_SOURCE: tuple[_Setting, ...] = (
    ("repository", "own", "where the data comes from"),
    ("license", "own", "who may use it"),
)


@dataclass(frozen=True, slots=True)
class CardContents:
    """The values from which a card is written.

    ``words`` are the words of the labels, ``title`` and ``instruction`` are those of the task;
    without them, the card gets usual ones. ``introduction`` is the comment at its beginning.
    """

    name: str
    type: TaskType
    answer: AnswerKind
    reader: Mapping[str, Any]
    fields: tuple[str, ...]
    files: Mapping[Split, tuple[str, ...]]
    labels: tuple[str, ...]
    resplit: Resplit | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    instruction: str = ""
    introduction: str = _INTRODUCTION


def label_names(labels: Iterable[str]) -> dict[str, str]:
    """Return a word for each label, made from its name: "adverse event" for ADVERSE_EVENT.

    All words differ. If the labels are 0 and 1, or true and false, the words are no and yes.
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


def write_card(contents: CardContents) -> str:
    """Return the card as TOML."""
    names = contents.words or label_names(contents.labels)
    reader = [(key, value, _READER_NOTES.get(key, "")) for key, value in contents.reader.items()]
    files = [(split, paths, _FILES_NOTE) for split, paths in contents.files.items()]
    parts = [
        contents.introduction,
        _section("", _head(contents)).removeprefix("\n"),
        _section("[source]", _SOURCE),
        _section("[reader]", reader),
        _section("[files]", files),
    ]
    if contents.resplit:
        parts.append(_section(_RESPLIT, _resplit(contents.resplit)))
    if names:
        parts.append(_section(_LABELS, [(label, word, "") for label, word in names.items()]))
    parts.append(_wording(contents, names))
    return "\n".join(parts)


def _head(contents: CardContents) -> list[_Setting]:
    metric = _metric(contents)
    settings: list[_Setting] = [
        ("name", contents.name, "letters, digits, '.', '_' and '-'"),
        ("type", contents.type, "ner | re | qa | nli (or a label for one text) | summarization"),
        ("answer", contents.answer, "spans | relations | label | choice | text"),
        (
            "title",
            contents.title or contents.name,
            "one line for lists and reports: what is asked of which texts",
        ),
        ("metric", metric, _metric_note(contents, metric)),
    ]
    if contents.type == "re":
        setting = "end-to-end" if contents.answer == "relations" else "gold-entities"
        settings.append(
            ("setting", setting, "gold-entities if mentions or a marked pair are given")
        )
    if metric == "positive_f1":
        settings.append(
            ("positive", _positive(contents.labels), "the labels that the metric counts")
        )
    return settings


def _metric(contents: CardContents) -> str:
    """Return the usual metric: F1 for relation labels, token F1 for free answers to questions."""
    if contents.type == "re" and contents.answer == "label":
        return "positive_f1" if _positive(contents.labels) else "macro_f1"
    if contents.type == "qa" and contents.answer == "text":
        return "token_f1"
    return KINDS[contents.type, contents.answer].metric_names[0]


def _metric_note(contents: CardContents, metric: str) -> str:
    names = KINDS[contents.type, contents.answer].metric_names
    others = [other for other in names if other != metric]
    return f"or {' or '.join(others)}" if others else "the only metric for this answer"


def _positive(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that do not mean "nothing there"; none if no label means that."""
    found = tuple(label for label in labels if _words(label) not in _NEGATIVE)
    return found if len(found) < len(labels) else ()


def _resplit(resplit: Resplit) -> list[_Setting]:
    shares = {"validation": resplit.validation, "test": resplit.test}
    note = "the share of groups to move there"
    settings: list[_Setting] = [(split, share, note) for split, share in shares.items() if share]
    seed_note = "decides which groups are moved; chosen because it comes near these shares"
    return [*settings, ("seed", resplit.seed, seed_note)]


def _wording(contents: CardContents, names: Mapping[str, str]) -> str:
    template, (usual, *others) = _wordings(contents, len(names))
    instruction, paraphrases = f'"""\n{usual}"""', "".join(f'"""\n{one}""",\n' for one in others)
    if contents.instruction:
        instruction, paraphrases = toml_value(contents.instruction), ""
    long = tuple(
        name for name in contents.fields if name != "question" or len(contents.fields) == 1
    )
    cut = toml_value(long if len(long) > 1 else long[0])
    return f'''[wording]
version = 1 # raise it when the wording changes
# The input, a jinja template over {", ".join(contents.fields)}. It ends where the answer begins.
{_OF_LABELS if names else ""}\
template = """
{template}"""
cut = {cut} # the middle of this is cut if the input is too long
# Says what to do. The model does not read it with the metaprompt in the package, which was learned
# without instructions. It reads it with a metaprompt that was learned with instructions.
instruction = {instruction}
# The same in other words; training shows each record one of all. Change them together.
paraphrases = [
{paraphrases}]
'''


def _wordings(contents: CardContents, num_labels: int) -> tuple[str, tuple[str, ...]]:
    """Return the template and the instructions for a kind of answer."""
    kind = "qa" if contents.answer == "text" and contents.type == "qa" else contents.answer
    end = {
        "spans": "Entities ({{ labels }}):",
        "relations": "Links ({{ labels }}):",
        "label": "{{ either }}:",
        "choice": "{% for letter, option in options %}{{ letter }}. {{ option }}\n{% endfor %}"
        "Answer:",
        "qa": "Answer:",
        "text": "Summary:",
    }[kind]
    leads = {name: f"{name.capitalize()}: " for name in contents.fields}
    leads |= {"text": "", "context": ""}
    fields = (f"{leads[name]}{{{{ {name} }}}}" for name in contents.fields)
    return "\n".join([*fields, end]), instructions_for(kind, num_labels)


def _words(label: str) -> str:
    """Return a label's words, split at punctuation and at capitals after lower-case letters."""
    spaced = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-Z][a-z])", " ", label)
    return one_line(re.sub(r"[\W_]+", " ", spaced).lower())


def _section(head: str, settings: Sequence[_Setting]) -> str:
    """Return ``key = value # note`` lines; a note goes above its line if that would be too long.

    It always goes above the title, which users replace by a longer one.
    """
    lines = [head]
    for key, value, note in settings:
        setting = f"{_key(key)} = {toml_value(value)}"
        is_long = key == "title" or len(setting) + len(note) > _WIDTH
        lines += (
            [f"# {note}", setting] if note and is_long else [f"{setting} # {note}".rstrip(" #")]
        )
    return "\n".join([*lines, ""])


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def toml_value(value: Any) -> str:  # noqa: ANN401 - whatever a card can hold
    """Return a value in TOML."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)
