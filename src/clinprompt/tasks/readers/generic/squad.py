"""Read questions with an answer in a passage, in the format of SQuAD. Knows nothing of cards."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import identity, items, load_object, table, text
from clinprompt.tasks.records import Record, TextAnswer, one_line

UNANSWERABLE = "unanswerable"


class SquadReader(Settings):
    """Read one record per question with its first answer.

    The answer must be part of the passage; ``answer_start`` is ignored, as some sets have it wrong
    by a few characters. Questions of one article form one group. A question without an answer gets
    the answer "unanswerable".
    """

    name: Literal["squad"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per question.

        Raises:
            DataError: the file is damaged or an answer is not in its passage.
        """
        with file.errors_at():
            for number, value in enumerate(items(load_object(file), "data", "file"), start=1):
                article = f"{file.label}:article{number}"
                for passage in items(table(value, article), "paragraphs", article):
                    values = table(passage, article)
                    for question in items(values, "qas", article):
                        yield self._record(table(question, article), values, article)

    def _record(
        self, question: Mapping[str, object], passage: Mapping[str, object], article: str
    ) -> Record:
        name = identity(question, "id", f"a question of {article}")
        context = passage.get("context")
        if not isinstance(context, str):
            raise DataError(f"{article}: no text 'context'")
        answer = _first_answer(question, context, name)
        fields = {"question": text(question, "question", name), "context": one_line(context)}
        return Record(name, fields, TextAnswer(one_line(answer) or UNANSWERABLE), group=article)


def _first_answer(question: Mapping[str, object], context: str, name: str) -> str:
    match question.get("answers"):
        case [{"text": str(answer)}, *_]:
            if answer not in context:
                raise DataError(f"question {name}: its answer is not in its passage; correct it")
            return answer
        case [] | None:
            return ""
    raise DataError(f"question {name}: an answer has no text 'text'")
