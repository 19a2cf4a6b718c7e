"""Read BioASQ's yes/no questions. Knows nothing of other question sets."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import items, load_object, table, text
from clinprompt.tasks.records import LabelAnswer, Record


class BioasqReader(Settings):
    """Read the yes/no questions; the field ``context`` is all snippets, one per line.

    Factoid, list and summary questions are skipped. A repeated snippet is kept once.
    """

    name: Literal["bioasq"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per yes/no question; its label is "yes" or "no".

        Raises:
            DataError: the file is damaged or a question has a value missing.
        """
        with file.errors_at():
            for value in items(load_object(file), "questions", "file"):
                question = table(value, "a question")
                name = text(question, "id", "a question")
                if question.get("type") == "yesno":
                    yield _record(name, question)


def _record(name: str, question: Mapping[str, object]) -> Record:
    snippets = [table(snippet, name) for snippet in items(question, "snippets", name)]
    texts = dict.fromkeys(text(snippet, "text", name) for snippet in snippets)
    body = text(question, "body", name)
    return Record(
        id=name,
        fields={"question": body, "context": "\n".join(texts)},
        answer=LabelAnswer(text(question, "exact_answer", name).casefold()),
        group=body,
    )
