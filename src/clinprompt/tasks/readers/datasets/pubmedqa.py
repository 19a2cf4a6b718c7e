"""Read PubMedQA's labelled questions. Knows nothing of other question sets."""

from collections.abc import Iterator
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import items, load_object, strings, table, text
from clinprompt.tasks.records import LabelAnswer, Record


class PubmedqaReader(Settings):
    """Read ``ori_pqal.json!test`` (the ids in ``test_ids``) or ``ori_pqal.json!train`` (others)."""

    name: Literal["pubmedqa"]
    test_ids: str = "test_ground_truth.json"

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per question of the part; the abstract's sections are joined.

        Raises:
            DataError: the file is damaged, or the part is neither train nor test.
        """
        if file.part not in ("train", "test"):
            raise file.error("write FILE!train or FILE!test in card.files")
        test_ids = load_object(file.sibling(self.test_ids)).keys()
        for name, value in load_object(file).items():
            if (name in test_ids) == (file.part == "test"):
                with file.errors_at():
                    yield _record(name, value)


def _record(name: str, value: object) -> Record:
    question = table(value, f"question {name}")
    sections = strings(items(question, "CONTEXTS", f"question {name}"), f"question {name}")
    return Record(
        id=name,
        fields={"question": text(question, "QUESTION", name), "context": " ".join(sections)},
        answer=LabelAnswer(text(question, "final_decision", name)),
    )
