"""The bodies of requests that teach tasks, and the names in them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from clinprompt.serving.teaching.corrections import Order
from clinprompt.serving.teaching.new_card import NewTask


class Body(BaseModel):
    """A body, in which an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Body):
    """A body that says nothing: ``{}``."""


class Label(Body):
    """A label of a new task, and the word that the model reads and writes ("": made from it)."""

    name: str
    word: str = ""


class TaskBody(Body):
    """A new task. ``kind`` is the name of one of the kinds that the workspace lists."""

    name: str
    kind: str
    title: str = ""
    labels: list[Label] = Field(default_factory=list)
    instruction: str = ""

    def new_task(self) -> NewTask:
        """Return what was filled in."""
        labels = tuple((one.name, one.word) for one in self.labels)
        return NewTask(self.name, self.kind, labels, self.title, self.instruction)


class NoteBody(Body):
    """A note; ``fields`` are its texts other than ``text`` by the names that the task reads."""

    id: str = ""
    text: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    options: list[str] = Field(default_factory=list)


class NotesBody(Body):
    """Notes to be corrected."""

    notes: list[NoteBody] = Field(min_length=1, max_length=1000)


class OrderBody(Body):
    """The order in which notes are offered."""

    order: Order = "least_sure"


class CorrectionBody(Body):
    """The right answer to a note, in the form of answers of /v1/predict."""

    note: StrictInt
    answer: dict[str, Any]


class NumberBody(Body):
    """A note."""

    note: StrictInt


class VersionBody(Body):
    """A prompt of a task."""

    version: StrictInt


class AnswerBody(NoteBody):
    """A note with an answer."""

    answer: dict[str, Any]


class ExportBody(Body):
    """Answers of a served task to write as a file."""

    task: str
    form: Literal["jsonl", "csv", "brat", "label_studio"]
    answers: list[AnswerBody] = Field(min_length=1)


_BODIES = (TaskBody, Label, NotesBody, OrderBody, CorrectionBody, VersionBody, ExportBody)
NAMES = frozenset(name for body in _BODIES for name in body.model_fields)  # may be shown in errors
