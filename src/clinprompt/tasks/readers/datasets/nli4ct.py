"""Read NLI4CT: statements on one or two clinical trials. Knows nothing of other statement sets."""

from collections.abc import Iterator, Mapping
from typing import Literal

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import items, load_object, strings, table, text
from clinprompt.tasks.records import LabelAnswer, Record

NO_SECOND_TRIAL = "none"


class Nli4ctReader(Settings):
    """Read each statement with the section of the trials that it is about, line by line.

    The reports of the trials are in the folder ``trials`` next to the file of statements. If a
    statement is about one trial only, the field ``secondary`` is "none".
    """

    name: Literal["nli4ct"]
    trials: str = "CT json"

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per statement.

        Raises:
            DataError: the archive is damaged, a statement has no label, or its trial is missing.
        """
        for name, value in load_object(file).items():
            with file.errors_at():
                yield self._record(name, table(value, f"statement {name}"), file)

    def _record(self, name: str, entry: Mapping[str, object], file: DataFile) -> Record:
        if "Label" not in entry:
            raise DataError(f"statement {name} has no label; correct card.files")
        heading = text(entry, "Section_id", name)
        primary = text(entry, "Primary_id", name)
        secondary = text(entry, "Secondary_id", name) if "Secondary_id" in entry else ""
        return Record(
            id=name,
            fields={
                "statement": text(entry, "Statement", name),
                "section": heading,
                "primary": self._section(file, primary, heading),
                "secondary": (
                    self._section(file, secondary, heading) if secondary else NO_SECOND_TRIAL
                ),
            },
            answer=LabelAnswer(text(entry, "Label", name)),
            group=primary,
        )

    def _section(self, file: DataFile, trial: str, heading: str) -> str:
        if not trial.isalnum():
            raise DataError("the number of a trial must consist of letters and digits")
        report = load_object(file.sibling(f"{self.trials}/{trial}.json"))
        lines = strings(items(report, heading, trial), trial)
        return "\n".join(line for line in lines if line)
