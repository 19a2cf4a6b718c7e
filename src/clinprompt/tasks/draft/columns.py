"""Guess by usual names what each column of a table is. Knows nothing of files or wording.

The keys of JSON Lines are columns too. If no guess is possible, the error lists the columns and
names the option with which the user names the column.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from clinprompt.errors import DataError, SettingError, did_you_mean, option
from clinprompt.tasks.card import AnswerKind, TaskType
from clinprompt.tasks.card_parts import Split
from clinprompt.tasks.readers.generic.documents import HEAD, TAIL, marked_places
from clinprompt.tasks.readers.generic.jsonl import parse_span
from clinprompt.tasks.readers.generic.rows import LETTERS
from clinprompt.tasks.records import one_line

Values = Mapping[str, object]

_TEXTS = "text note note_text notes sentence report document abstract passage body content input"
_USUAL: Mapping[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "text": f"{_TEXTS} transcript dialogue message description article",
        "first": f"premise sentence1 sentence_1 text1 text_1 text_a question1 question_1 first "
        f"context {_TEXTS}",
        "second": "hypothesis sentence2 sentence_2 text2 text_2 text_b question2 question_2 second "
        "statement claim",
        "question": "question query",
        "context": f"context {_TEXTS}",
        "options": "options choices",
        "label": "label gold_label class category verdict relation relation_type target gold "
        "answer",
        "summary": "summary target highlights headline impression brief conclusion answer",
        "answer": "answer_idx answer_index answer label gold target correct correct_answer "
        "final_decision long_answer response",
        "spans": "spans entities annotations labels label",
        "id": "id uid row_id example_id question_id qid pair_id note_id document_id doc_id pmid",
        "group": "group patient patient_id subject_id person_id hadm_id note_id document_id doc_id "
        "pmid title",
    }.items()
}
_OPTIONS = {
    **dict.fromkeys(("text", "first", "second", "context"), "text"),
    "question": "question",
}
_SHOWN = {"first": "first text", "second": "second text"}
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")
_OPTION_COLUMN = re.compile(r"(?:option|choice|op)?_?([a-z]|[1-9])")
_MOST_LABELS = 40
_LONGEST_LABEL = 40


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
    search = _Search(rows, place, taken)
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


def _ner(search: "_Search", named: NamedColumns) -> ColumnRoles:
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
    search = _Search(rows, place, set(named.text))
    fields = {"text": search.find("text", *named.text[:1])}
    return ColumnRoles({"fields": fields, **search.keys()}, "spans")


def has_usual(role: str, names: Iterable[str]) -> bool:
    """Return whether a name is usual for a role."""
    return any(_plain(name) in _USUAL[role] for name in names)


def repeated(num_repeated: int, num_mentions: int) -> tuple[str, ...]:
    """Return a note on the number of mentions that repeat another, if there are any."""
    if not num_repeated:
        return ()
    return (
        f"repeated: {num_repeated} of {num_mentions} mentions have the type and place of another "
        "in the same text; each is kept once",
    )


def _marked_pair(search: "_Search", named: NamedColumns) -> ColumnRoles:
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


def _nli(search: "_Search", named: NamedColumns) -> ColumnRoles:
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


def _qa(search: "_Search", named: NamedColumns) -> ColumnRoles:
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


@dataclass(slots=True)
class _Search:
    """Finds columns one after another and remembers in ``taken`` those that have a role."""

    by_split: Mapping[Split, Sequence[Values]]
    place: str
    taken: set[str]
    rows: tuple[Values, ...] = ()

    def __post_init__(self) -> None:
        self.rows = tuple(chain.from_iterable(self.by_split.values()))
        if not self.rows:
            raise DataError(f"{self.place}: holds no records; give files with records")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def find(self, role: str, given: str = "", *, is_needed: bool = True, remedy: str = "") -> str:
        """Return the column that is given for a role, or the one with the most usual name."""
        if given:
            if given not in self.names:
                raise SettingError(f"{self.place}: no column {given!r}; {self.shown(given)}")
            return self._take(given)
        if usual := self._usual(role):
            return self._take(usual[0])
        if not is_needed:
            return ""
        named = option(f"{_OPTIONS.get(role, 'label')} COLUMN")
        raise DataError(
            f"{self.place}: no column has a usual name for the {_SHOWN.get(role, role)} "
            f"({', '.join(_USUAL[role][:4])} ...); {self.shown()}; "
            f"{remedy or f'name it with {named}'}"
        )

    def label(self, role: str, given: str) -> str:
        """Return the column of a label: few short values, each in several rows."""
        name = self.find(role, given)
        self._check_filled(name)
        values = self.values(name)
        longest = max(map(len, values))
        if len(values) > min(_MOST_LABELS, len(self.rows) / 2) or longest > _LONGEST_LABEL:
            free = (other for other in self.names if other not in self.taken)
            closed = [other for other in free if self.is_closed(other)]
            hint = f" (perhaps {' or '.join(closed)})" if closed and are_names(self.names) else ""
            raise DataError(
                f"{self.place}: column {name} holds {len(values)} different values of up to "
                f"{longest} characters in {len(self.rows)} rows, but labels are at most "
                f"{_MOST_LABELS}, of at most {_LONGEST_LABEL} characters, each in several rows; "
                f"name the right column with {option('label COLUMN')}{hint}; for free answers "
                "make a task of type qa or summarization"
            )
        return name

    def _check_filled(self, name: str) -> None:
        blank = {
            split: sum(row.get(name) is None or not str(row[name]).strip() for row in rows)
            for split, rows in self.by_split.items()
        }
        for split, rows in self.by_split.items():
            if rows and blank[split] == len(rows):
                raise DataError(
                    f"{self.place}: column {name} has no value in all {len(rows)} rows of {split}; "
                    "label them, or remove the files of that split"
                )
        if num := sum(blank.values()):
            raise DataError(
                f"{self.place}: column {name} is empty in {num} of {len(self.rows)} rows; every "
                "row needs a label: add one, or remove these rows"
            )

    def options(self, given: tuple[str, ...]) -> str | tuple[str, ...]:
        """Return the column of all options, or one column per option in order, or nothing."""
        if given:
            found = tuple(self.find("options", name) for name in given)
            return found if len(found) > 1 else found[0]
        if name := self.find("options", is_needed=False):
            return name
        lettered = {
            match[1]: name
            for name in self.names
            if (match := _OPTION_COLUMN.fullmatch(_plain(name)))
        }
        for order in (LETTERS.lower(), "123456789"):
            names = [lettered[mark] for mark in order if mark in lettered]
            if len(names) > 1 and list(order[: len(names)]) == [m for m in order if m in lettered]:
                return tuple(self._take(name) for name in names)
        return ()

    def check_letters(self, name: str) -> None:
        """Check that the answers of multiple choice are letters.

        Raises:
            DataError: one is not.
        """
        if not {value.upper() for value in self.values(name)} <= set(LETTERS):
            raise DataError(
                f"{self.place}: column {name} must hold the letter of the right option, A for the "
                f"first; write letters there, or name another column with {option('label COLUMN')}"
            )

    def is_closed(self, name: str) -> bool:
        """Return whether a column has few short values that repeat."""
        return are_closed(self.values(name), len(self.rows))

    def values(self, name: str) -> set[str]:
        """Return the different values of a column."""
        return {one_line(str(row.get(name, ""))) for row in self.rows}

    def keys(self) -> dict[str, str]:
        """Return the columns of ids (all values differ) and of groups (some values repeat)."""
        keys = {}
        for role in ("id", "group"):
            whole = (name for name in self._usual(role) if self._is_whole(name))
            fitting = (
                name
                for name in whole
                if (len(self.values(name)) == len(self.rows)) == (role == "id")
            )
            if name := next(fitting, ""):
                keys[role] = self._take(name)
        return keys

    def shown(self, sought: str = "") -> str:
        """Return a text that lists the columns, or only those similar to ``sought``.

        Columns that look like the first row of a table without a header are not shown, because
        they may be clinical text.
        """
        names = self.names
        if are_names(names) and not any(name in self.values(name) for name in names):
            return did_you_mean(sought, names) if sought else f"it has: {', '.join(names)}"
        return (
            f"its {len(names)} columns look like a row, not like names; if they are names, give "
            "them as they are written there; if the table has no header, name columns by number "
            "from 0"
        )

    def _usual(self, role: str) -> tuple[str, ...]:
        """Return the columns without a role whose names are usual for this one, best first."""
        by_name = {_plain(name): name for name in self.names if name not in self.taken}
        return tuple(by_name[usual] for usual in _USUAL[role] if usual in by_name)

    def _is_whole(self, name: str) -> bool:
        return all(isinstance(row.get(name), str | int) and row[name] != "" for row in self.rows)

    def _take(self, name: str) -> str:
        self.taken.add(name)
        return name


def are_closed(values: Collection[str], num_rows: int) -> bool:
    """Return whether the different values of a column are few and short, so that they repeat."""
    short = all(len(value) <= _LONGEST_LABEL for value in values)
    return short and len(values) <= 10 and num_rows >= 2 * len(values)


def are_names(words: Iterable[str]) -> bool:
    """Return whether words look like column names and not like texts or numbers."""
    return all(map(_NAME.fullmatch, words))


def is_usual(name: str) -> bool:
    """Return whether a column name is usual for any role."""
    return any(_plain(name) in usual for usual in _USUAL.values())


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())
