"""Decide what each column of a table is for a type of task. Knows nothing of files or wording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.errors import DataError, SettingError, option
from clinprompt.tasks.card import AnswerKind, TaskType
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.draft.column_search import ColumnSearch, Values
from clinprompt.tasks.readers.generic.documents import HEAD, TAIL, marked_places
from clinprompt.tasks.readers.generic.jsonl import parse_span


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """The columns that a user names; ``label`` is the column of the answer, whatever its kind.

    With ``is_one_text``, a task of type nli reads one text, whose column need not be named.
    """

    text: tuple[str, ...] = ()
    label: str = ""
    question: str = ""
    options: tuple[str, ...] = ()
    is_one_text: bool = False


@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """The settings ``row`` and ``spans`` of a reader, the kind of answer, and notes on guesses."""

    row: Mapping[str, Any]
    answer: AnswerKind
    spans: str = ""
    notes: tuple[str, ...] = ()


def assign_columns(
    type_: TaskType, rows: Mapping[Split, Sequence[Values]], named: NamedColumns, place: str
) -> ColumnRoles:
    """Find the columns of the text, the question, the answer and so on; errors name ``place``.

    Raises:
        DataError: no column that the type needs has a usual name, or its values cannot be answers.
        SettingError: a column that the user named is missing, or the type does not use it.
    """
    _check_parts(type_, named, place)
    taken = {*named.text, named.label, named.question, *named.options}
    search = ColumnSearch(rows, place, taken)
    match type_:
        case "ner":
            return _ner(search, named)
        case "nli":
            return _nli(search, named)
        case "qa":
            return _qa(search, named)
        case "summarization":
            fields = {"text": search.find("text", *named.text[:1])}
            target = search.find("summary", named.label)
            return ColumnRoles({"fields": fields, "text": target, **search.keys()}, "text")
        case "re":
            return _marked_pair(search, named)
    raise SettingError(f"{place}: no card of type {type_} can be drafted; write it by hand")


def _check_parts(type_: TaskType, named: NamedColumns, place: str) -> None:
    most, shown = 2 if type_ == "nli" else 1, type_
    if named.is_one_text:
        most, shown = 1, "classification"
    if len(named.text) > most or ((named.question or named.options) and type_ != "qa"):
        raise SettingError(
            f"{place}: type {shown} takes at most {'two texts' if most == 2 else 'one text'}, and "
            "only qa takes a question and options; name no columns for the others"
        )


def _ner(search: ColumnSearch, named: NamedColumns) -> ColumnRoles:
    fields = {"text": search.find("text", *named.text[:1])}
    spans = search.find("spans", named.label)
    lists = [listed for row in search.rows if isinstance(listed := row.get(spans), list)]
    found = [[one for value in listed if (one := parse_span(value))] for listed in lists]
    forms = dict.fromkeys(form for own in found for form, _ in own)
    notes = [f"mentions: column {spans}, as {' and '.join(forms)}"]  # the reader refuses others
    mentions, kept = sum(map(len, found)), sum(len({one.span for _, one in own}) for own in found)
    notes += repeated(mentions - kept, mentions)
    return ColumnRoles({"fields": fields, **search.keys()}, "spans", spans, tuple(notes))


def assign_text(
    rows: Mapping[Split, Sequence[Values]], named: NamedColumns, place: str
) -> ColumnRoles:
    """Find the columns of the text, of ids and of groups, where the answer is in no column.

    Raises:
        DataError: no column has a usual name for a text.
        SettingError: the column that the user named is missing.
    """
    _check_parts("ner", named, place)
    search = ColumnSearch(rows, place, set(named.text))
    fields = {"text": search.find("text", *named.text[:1])}
    return ColumnRoles({"fields": fields, **search.keys()}, "spans")


def repeated(num_repeated: int, num_mentions: int) -> tuple[str, ...]:
    """Return a note on the number of mentions that repeat another, if there are any."""
    if not num_repeated:
        return ()
    return (
        f"repeated: {num_repeated} of {num_mentions} mentions have the type and place of another "
        "in the same text; each is kept once",
    )


def _marked_pair(search: ColumnSearch, named: NamedColumns) -> ColumnRoles:
    text = search.find("text", *named.text[:1])
    label = search.label("label", named.label)
    pairs = sum(len(marked_places(str(row.get(text, "")))) > 1 for row in search.rows)
    marks = f"{' mention '.join(HEAD)} and {' mention '.join(TAIL)}"
    if not pairs:
        raise DataError(
            f"{search.place}: type re reads the relation of a marked pair from a column, but no "
            f"text of column {text} marks a pair of mentions as {marks}; mark the pairs, give "
            "links as brat files or as an export of Label Studio, or use "
            f"{option('type classification', argument='kind')} for one label a text"
        )
    notes = (f"marked pairs: in {pairs} of {len(search.rows)} texts, as {marks}",)
    row = {"fields": {"text": text}, "label": label, **search.keys()}
    return ColumnRoles(row, "label", notes=notes)


def _nli(search: ColumnSearch, named: NamedColumns) -> ColumnRoles:
    is_pair = len(named.text) != 1 and not named.is_one_text
    first = search.find("first" if is_pair else "text", *named.text[:1])
    fields = {"text": first}
    if is_pair:
        remedy = (
            "for a pair name both texts with --text FIRST --text SECOND (in Python: "
            "text=['FIRST', 'SECOND']), for one text alone use "
            f"{option('type classification', argument='kind')}"
        )
        fields["statement"] = search.find("second", *named.text[1:2], remedy=remedy)
    label = search.label("label", named.label)
    keys = {"group": first, **search.keys()} if len(fields) > 1 else search.keys()
    return ColumnRoles({"fields": fields, "label": label, **keys}, "label")


def _qa(search: ColumnSearch, named: NamedColumns) -> ColumnRoles:
    fields = {"question": search.find("question", named.question)}
    options = search.options(named.options)
    context = search.find("context", *named.text[:1], is_needed=False)
    if context:
        fields = {"context": context, **fields}
    answer = search.find("answer", named.label)
    keys = {"group": context, **search.keys()} if context else search.keys()
    if options:
        search.check_letters(answer)
        return ColumnRoles(
            {"fields": fields, "label": answer, "options": options, **keys}, "choice"
        )
    if search.is_closed(answer):
        return ColumnRoles({"fields": fields, "label": answer, **keys}, "label")
    return ColumnRoles({"fields": fields, "text": answer, **keys}, "text")
