"""The bodies of requests that ask tasks about notes, and of their answers."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clinprompt.serving.state import record_of
from clinprompt.tasks.records import Record


def _whole(text: str) -> str:
    """Check that UTF-8 can hold a text: JSON can write half of a character, a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("has half a character (a lone surrogate); correct it") from error
    return text


class NoteRequest(BaseModel):
    """A note and the tasks to answer on it; ``tasks`` may be absent if only one is served."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field(default_factory=list, min_length=1, max_length=100)
    text: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    options: list[str] = Field(default_factory=list)
    id: Annotated[str, AfterValidator(_whole)] = ""  # the answer repeats it

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
