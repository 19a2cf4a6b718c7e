"""Read emrQA: questions on a clinical note, answered by the line with the evidence.

Knows no splits. Some files have lists where others have single values; both are read. As in the
published benchmark, the evidence is the answer. "Complex" answers (made of several) and answers
without evidence (yes or no) are left out, and so are questions that then have no answer.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import identity, items, load_object, table
from clinprompt.tasks.records import Record, TextAnswer, one_line

_COMPLEX = "complex"


class EmrqaReader(Settings):
    """Read one record per question in its first wording; the field ``context`` is the whole note.

    The answer is the first evidence. ``data.json!medication`` selects the part of a combined file
    with the title "medication". Questions on one note form one group.
    """

    name: Literal["emrqa"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per question.

        Raises:
            DataError: the file is damaged, has no such part, or a question has a value missing.
        """
        with file.errors_at():
            for part in _parts(load_object(file), file.part):
                for number, value in enumerate(items(part, "paragraphs", "part"), start=1):
                    yield from _note(table(value, "paragraph"), f"note{number}")


def _parts(content: Mapping[str, object], title: str) -> Iterator[Mapping[str, object]]:
    """Yield the one part of a file, or the parts with the title in a combined file."""
    if "paragraphs" in content:
        yield content
        return
    parts = [table(part, "part") for part in items(content, "data", "file")]
    kept = [part for part in parts if not title or part.get("title") == title]
    if not kept:
        raise DataError(f"no part is titled {title!r}; correct the text after '!' in card.files")
    yield from kept


def _note(note: Mapping[str, object], place: str) -> Iterator[Record]:
    name = identity(note, "note_id", place) if "note_id" in note else place
    context = one_line(" ".join(_texts(note, "context", name)))
    for number, value in enumerate(items(note, "qas", name), start=1):
        question = table(value, name)
        evidence = _first_evidence(question, name)
        if evidence:
            wording = one_line(_texts(question, "question", name)[0])
            fields = {"question": wording, "context": context}
            yield Record(f"{name}:{number}", fields, TextAnswer(evidence), group=name)


def _first_evidence(question: Mapping[str, object], name: str) -> str:
    """Return the evidence of the first answer that has any."""
    for value in items(question, "answers", name):
        answer = table(value, name)
        evidence = one_line(" ".join(_listed(answer.get("evidence"))))
        if evidence and answer.get("answer_entity_type") != _COMPLEX:
            return evidence
    return ""


def _texts(values: Mapping[str, object], key: str, name: str) -> list[str]:
    """Return the texts at a key: those in a list, or the one that is not in a list."""
    texts = _listed(values.get(key))
    if not texts:
        raise DataError(f"{name}: no text {key!r}")
    return texts


def _listed(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
