"""Read MEDIQA-MAS: several answers to a question and one summary. Knows no other summary sets."""

from collections.abc import Iterator
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.excel import open_sheet, rows_of
from clinprompt.tasks.records import Record, TextAnswer, one_line


class MediqaMasReader(Settings):
    """Read the fields ``question`` and ``text`` (one answer per line); the summary is the answer.

    The workbook has question number, answer number and answer in its first three columns, below
    one row of names. ``questions`` and ``summaries`` are files in the same folder with lines
    ``number||text``.
    """

    name: Literal["mediqa_mas"]
    questions: str
    summaries: str

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per question, in the order of the summaries.

        Raises:
            DataError: a file is missing or damaged, or a number is not in all three.
        """
        answers = _answers(file)
        questions = _texts(file.sibling(self.questions))
        summaries = _texts(file.sibling(self.summaries))
        for number in dict.fromkeys((*answers, *questions, *summaries)):
            if not (number in answers and number in questions and number in summaries):
                raise file.error(
                    f"question {number} has no answers, no question or no summary; correct "
                    "reader.questions, reader.summaries or the files"
                )
        for number, summary in summaries.items():
            fields = {"question": questions[number], "text": "\n".join(answers[number])}
            yield Record(f"{file.stem}:{number}", fields, TextAnswer(summary))


def _answers(file: DataFile) -> dict[str, list[str]]:
    answers: dict[str, list[str]] = {}
    rows = rows_of(file, open_sheet(file), 3)
    for number, cells in enumerate(rows, start=1):
        if number == 1 or not any(cell is not None for cell in cells):
            continue
        if len(cells) < 3 or cells[0] is None or cells[2] is None:
            raise file.error("the row has no question number or no answer", number)
        answers.setdefault(str(cells[0]).strip(), []).append(one_line(str(cells[2])))
    return answers


def _texts(file: DataFile) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in file.filled_lines():
        key, mark, text = line.partition("||")
        if not mark or key.strip() in texts:
            raise file.error("must be NUMBER||TEXT with a number that no other line has", number)
        texts[key.strip()] = one_line(text)
    return texts
