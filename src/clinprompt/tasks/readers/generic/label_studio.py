"""Read exports of Label Studio (JSON and JSON-MIN) into records. Knows no labels by name."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from clinprompt.errors import DataError, number_of
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic import documents
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, View
from clinprompt.tasks.readers.generic.label_studio_tasks import Task, load_export
from clinprompt.tasks.readers.generic.offsets import (
    Counting,
    Written,
    find_counting,
    first_misfit,
    offset_notes,
)
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record

_Read = list[tuple[Task, Record]]


class LabelStudioReader(Settings):
    """Read one record from each annotated task of Label Studio.

    With ``view``, the answer is made of the marked spans and their relations; otherwise it is
    ``row.label``, the name of a control with single choices, or ``row.text``, the name of a text
    area; tasks without a choice or text are left out. White space at the ends of a span is left
    out. Of several annotations of a task, the first that is not cancelled counts; tasks without
    one are left out.
    """

    name: Literal["label_studio"]
    row: RowShape = Field(description="what the data and choices of a task become")
    view: View | None = Field(default=None, description="which task to make of spans and relations")
    controls: tuple[str, ...] = Field(
        default=(), description="names of the controls whose spans are read; empty: all"
    )

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.view and (self.row.label or self.row.text or "text" not in self.row.fields):
            raise ValueError("view needs row.fields.text and neither row.label nor row.text")
        if not self.view and (self.controls or not (self.row.label or self.row.text)):
            raise ValueError("without view, row.label or row.text is needed, and no controls")
        return self

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records of each annotated task.

        Raises:
            DataError: the file is no export of Label Studio, a task has no value for a key of
                ``row``, or a span is outside the text or has another text than its own.
        """
        found = self._read(file)
        if not self.view:
            yield from (record for _, record in found)
            return
        counting = self._counting(file, found)
        for task, record in found:
            with file.errors_at():
                yield from self.view.records(self._document(task, record, counting))

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        export, found = load_export(file), self._read(file)
        if self.view:
            yield from offset_notes([one for _, one in self._written(found)])
        if export.num_several:
            tasks = number_of(export.num_several, "task has", "tasks have")
            yield (
                f"several annotations: {tasks} more than one; the first that is not cancelled is "
                "read"
            )
        if export.num_unannotated:
            tasks = number_of(export.num_unannotated, "task has", "tasks have")
            yield f"left out: {tasks} no annotation, or a cancelled one"
        if left := len(export.tasks) - len(found):
            tasks = number_of(left, "annotated task has", "annotated tasks have")
            yield f"left out: {tasks} no value for {self._answer}"
        unread = sum((task.unread for task in export.tasks), Counter[str]())
        if any(self._answer in task.written for task in export.tasks):
            del unread["textarea"]
        if unread:
            shown = " and ".join(f"{number} of type {kind}" for kind, number in unread.items())
            yield f"not read: results, {shown}"

    @property
    def _answer(self) -> str:
        return self.row.label or self.row.text

    def _read(self, file: DataFile) -> _Read:
        """Return the tasks with an answer, each with its record."""
        shape = self.row.model_copy(update={"verbatim": True}) if self.view else self.row
        found = []
        for task in load_export(file).tasks:
            if self.view or _values(task).get(self._answer) is not None:
                with file.errors_at():
                    found.append((task, _record(shape, task, file)))
        return found

    def _written(self, found: _Read) -> list[tuple[str, Written]]:
        """Return the regions that are read, each with the name of its task."""
        return [
            (task.name, region.span.written(record.text))
            for task, record in found
            for region in task.regions
            if not self.controls or region.control in self.controls
        ]

    def _counting(self, file: DataFile, found: _Read) -> Counting:
        written = self._written(found)
        every = [mention for _, mention in written]
        counting = find_counting(every)
        if wrong := first_misfit(every, counting):
            place, message = wrong
            raise file.error(f"{written[place][0]}: {message}")
        return counting

    def _document(self, task: Task, record: Record, counting: Counting) -> Document:
        spans = {
            region.key: (region.span.counted(record.text, counting),)
            for region in task.regions
            if not self.controls or region.control in self.controls
        }
        ends = {name: key for name, key in task.keys.items() if key in spans}
        every = self.controls == ()
        links = tuple(
            documents.Link(
                link.type, ends.get(link.head, link.head), ends.get(link.tail, link.tail)
            )
            for link in task.links
            if every or {link.head, link.tail} <= ends.keys()
        )
        return Document(record.id, record.text, spans, links, record.group or record.id)


def _record(shape: RowShape, task: Task, file: DataFile) -> Record:
    try:
        return shape.record(_values(task), f"{file.label}:{task.name.removeprefix('task ')}")
    except DataError as error:
        raise DataError(f"{task.name}: {error}") from error


def _values(task: Task) -> Mapping[str, object]:
    return {**task.written, **task.values}
