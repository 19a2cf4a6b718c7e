"""Answer all tasks about the notes of a chunk. A note that cannot be answered becomes an error row.

Knows no files. A row is a dictionary of plain JSON values: ``id`` and ``line`` of the note, then
``task`` with its answer, or ``error``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.backbone.decode import answer_all
from clinprompt.backbone.scheduler import Ask
from clinprompt.errors import DataError, SettingError
from clinprompt.evaluation.questions import Question
from clinprompt.jobs.annotate import as_json
from clinprompt.jobs.note_files import RawNote
from clinprompt.jobs.task_table import ServedTask
from clinprompt.tasks.records import Record

Row = dict[str, Any]
# Notes whose rows are in memory at a time; one chunk of long notes may be more.
_CHARACTERS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task's question about a note, or why there is none."""

    line: int
    id: str
    task: ServedTask
    question: Question | None = None
    error: str = ""

    def row(self) -> Row:
        start = {"id": self.id, "line": self.line, "task": self.task.name}
        if self.question is None:
            return {**start, "error": self.error}
        values = as_json(self.task.loaded.card, self.question.prediction())
        return {**start, **values, "task": self.task.name}


def answer_chunk(
    tasks: Sequence[ServedTask],
    notes: Sequence[RawNote],
    *,
    max_characters: int,
    on_answers: Callable[[int], object],
) -> list[Row]:
    """Return the rows of some notes: of each note in order, those of all tasks.

    A note that cannot be read has one row, with its error. ``on_answers`` is called with the number
    of answers whenever some are finished; it counts all tasks of a note that cannot be read.
    """
    rows: list[Row] = []
    for group in _groups(notes, max_characters):
        entries: list[Row | _Asked] = []
        for line, record in group:
            if isinstance(record, Record):
                entries += (_asked(line, record, task) for task in tasks)
            else:
                entries.append(record)
                on_answers(len(tasks))
        _answer([one for one in entries if isinstance(one, _Asked)], on_answers)
        rows += (one.row() if isinstance(one, _Asked) else one for one in entries)
    return rows


def _groups(
    notes: Sequence[RawNote], max_characters: int
) -> Iterator[list[tuple[int, Record | Row]]]:
    """Yield notes, or the error rows in their place, in groups that are answered together."""
    group: list[tuple[int, Record | Row]] = []
    size = 0
    for note in notes:
        record = _read(note, max_characters)
        length = _num_characters(record) if isinstance(record, Record) else 0
        if group and size + length > _CHARACTERS_AT_ONCE:
            yield group
            group, size = [], 0
        group.append((note.number, record))
        size += length
    if group:
        yield group


def _read(note: RawNote, max_characters: int) -> Record | Row:
    """Return a note, or its error row."""
    identity = str(note.number)
    try:
        record = note.read()
        identity = record.id
        _check(record, max_characters)
    except DataError as error:
        return {"id": identity, "line": note.number, "error": str(error)}
    return record


def _check(record: Record, max_characters: int) -> None:
    texts = [record.text] if "text" in record.fields else list(record.fields.values())
    if not any(text.strip() for text in texts):
        raise DataError("the note is empty; leave it out or give it a text")
    length = _num_characters(record)
    if length > max_characters:
        raise DataError(
            f"the note has {length:,} characters; the limit is {max_characters:,} "
            "(--max-characters)"
        )


def _num_characters(record: Record) -> int:
    return sum(map(len, record.fields.values()))


def _asked(line: int, record: Record, task: ServedTask) -> _Asked:
    try:
        return _Asked(line, record.id, task, task.question(record))
    except (DataError, SettingError) as error:
        return _Asked(line, record.id, task, error=str(error))


def _answer(asked: Sequence[_Asked], on_answers: Callable[[int], object]) -> None:
    """Answer the rows of all questions in one running batch."""
    questions = [one.question for one in asked if one.question is not None]
    # Rows of a question may be finished in one step: all are done when the first is reported.
    number_of = {id(ask): n for n, question in enumerate(questions) for ask in question.asks}
    left = [len(question.asks) for question in questions]

    def finished(ask: Ask) -> None:
        number = number_of[id(ask)]
        left[number] -= 1
        if not left[number]:
            on_answers(1)

    on_answers(len(asked) - len(questions))
    if questions:
        asks = [ask for question in questions for ask in question.asks]
        answer_all(asked[0].task.loaded.backbone, asks, finished)
