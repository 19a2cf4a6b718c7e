"""The bodies of requests that ask tasks about notes, and of their answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from clinprompt.serving.state import record_of
from clinprompt.tasks.records import Record


class NoteRequest(BaseModel):
    """A note and the tasks to answer on it; ``tasks`` may be absent if only one is served."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field(default_factory=list, min_length=1, max_length=100)
    text: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    options: list[str] = Field(default_factory=list)
    id: str = ""

    def record(self) -> Record:
        """Return the note as a record.

        Raises:
            Refused: a field cannot be used.
        """
        fields = {**({"text": self.text} if self.text else {}), **self.fields}
        return record_of(fields, self.options)


class NoteAnswers(BaseModel):
    """The answers of the tasks, in the order in which these were named."""

    id: str
    answers: list[dict[str, Any]]
    seconds: float
