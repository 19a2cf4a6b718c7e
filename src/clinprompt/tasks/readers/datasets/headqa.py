"""Read HEAD-QA's exams. Knows nothing of other question sets."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import identity, items, load_object, table, text
from clinprompt.tasks.readers.generic.rows import LETTERS
from clinprompt.tasks.records import LabelAnswer, Record


class HeadqaReader(Settings):
    """Read the multiple-choice questions that need no image."""

    name: Literal["headqa"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per question without an image; the number of options varies.

        Raises:
            DataError: the file is damaged or a right answer is not one of the options.
        """
        with file.errors_at():
            for exam, value in table(load_object(file).get("exams"), "exams").items():
                for question in items(table(value, exam), "data", exam):
                    values = table(question, f"a question of {exam}")
                    if not values.get("image"):
                        number = identity(values, "qid", f"a question of {exam}")
                        yield _record(f"{exam}:{number}", values)


def _record(name: str, values: Mapping[str, object]) -> Record:
    answers = [table(answer, name) for answer in items(values, "answers", name)]
    numbers = [identity(answer, "aid", name) for answer in answers]
    right = identity(values, "ra", name)
    if right not in numbers or len(numbers) > len(LETTERS):
        raise DataError(f"{name}: 'ra' must be the 'aid' of one of its {len(numbers)} answers")
    return Record(
        id=name,
        fields={"question": text(values, "qtext", name)},
        answer=LabelAnswer(LETTERS[numbers.index(right)]),
        options=tuple(text(answer, "atext", name) for answer in answers),
    )
