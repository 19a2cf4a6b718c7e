"""Find the columns of a table by usual names and by their values. Knows no types of tasks.

The keys of JSON Lines are columns too. If no column is found, the error lists the columns and
names the option with which the user names the column.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from clinprompt.errors import DataError, SettingError, did_you_mean, option
from clinprompt.tasks.card_parts import Split
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


@dataclass(slots=True)
class ColumnSearch:
    """Finds columns one after another and remembers in ``taken`` those that have a role.

    ``rows`` are the rows of all splits. Errors name ``place``.
    """

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
        """Return the names of all columns, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def find(self, role: str, given: str = "", *, is_needed: bool = True, remedy: str = "") -> str:
        """Return the column that is given for a role, or the one with the most usual name.

        Raises:
            DataError: no column has a usual name, and one is needed.
            SettingError: there is no column of the name that is given.
        """
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
        """Return the column of a label: few short values, each in several rows.

        Raises:
            DataError: there is none, it has blanks, or its values cannot be labels.
            SettingError: there is no column of the name that is given.
        """
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
        """Return the column of all options, or one column per option in order, or nothing.

        Raises:
            SettingError: there is no column of a name that is given.
        """
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


def has_usual(role: str, names: Iterable[str]) -> bool:
    """Return whether a name is usual for a role."""
    return any(_plain(name) in _USUAL[role] for name in names)
