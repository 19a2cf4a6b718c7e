"""Read questions with an answer inside a passage, as SQuAD stores them. Knows nothing of cards."""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clinprompt.errors import DataError
from clinprompt.tasks.example import Record, TextAnswer
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.json_tables import identity, items, load_object, table, text

UNANSWERABLE = "unanswerable"


class SquadReader(BaseModel):
    """Read one record a question; the field ``context`` is cut to ``window`` characters (0: whole).

    The window lies round the first answer, taken where it stands nearest to its ``answer_start``:
    some sets count that a few characters wrong. Questions of one article form one group; a question
    without an answer is answered "unanswerable".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["squad"]
    window: int = Field(default=0, ge=0)

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record a question.

        Raises:
            DataError: the file is damaged or an answer does not stand in its passage.
        """
        try:
            for number, value in enumerate(items(load_object(file), "data", "file"), start=1):
                article = f"{file.stem}:article{number}"
                for passage in items(table(value, article), "paragraphs", article):
                    values = table(passage, article)
                    for question in items(values, "qas", article):
                        yield self._record(table(question, article), values, article)
        except DataError as error:
            raise file.error(str(error)) from error

    def _record(
        self, question: Mapping[str, object], passage: Mapping[str, object], article: str
    ) -> Record:
        name = identity(question, "id", f"a question of {article}")
        context = passage.get("context")
        if not isinstance(context, str):
            raise DataError(f"{article}: no text 'context'")
        start, answer = _first_answer(question, context, name)
        window = self._window(context, start, start + len(answer))
        fields = {"question": text(question, "question", name), "context": " ".join(window.split())}
        told = TextAnswer(" ".join(answer.split()) or UNANSWERABLE)
        return Record(name, fields, told, group=article)

    def _window(self, context: str, start: int, end: int) -> str:
        """Cut a stretch of ``window`` characters that holds the answer in its middle."""
        if not self.window or len(context) <= self.window:
            return context
        room = max(0, self.window - (end - start))
        first = min(max(0, start - room // 2), max(0, len(context) - self.window))
        return context[first : max(end, first + self.window)]


def _first_answer(question: Mapping[str, object], context: str, name: str) -> tuple[int, str]:
    match question.get("answers"):
        case [{"text": str(answer), "answer_start": int(start)}, *_]:
            places = (
                context.find(answer, max(0, start)),
                context.rfind(answer, 0, start + len(answer)),
            )
            found = [place for place in places if place >= 0]
            if not found:
                raise DataError(f"question {name}: its answer does not stand in its passage")
            return min(found, key=lambda place: abs(place - start)), answer
        case [] | None:
            return 0, ""
    raise DataError(f"question {name}: answers need a text 'text' and a number 'answer_start'")
