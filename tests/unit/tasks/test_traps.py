"""Known pitfalls of published data sets, and the catalog's cards on made-up files with them."""

import gzip
import time
from pathlib import Path

import pytest
from openpyxl import Workbook

from clinprompt.tasks.card import find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.load import load_task
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.excel import ExcelReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import LabelAnswer


def labels(name: str, mirror: Path, files: dict[str, str]) -> list[list[str]]:
    """Return the labels of each split as a card reads them from the given files."""
    card = find_card(name).model_copy(update={"resplit": None})
    for place, text in files.items():
        path = mirror / card.data_folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    splits = load_task(card, mirror, verify_checksums=False).splits
    answers = [[record.answer for record in splits[split]] for split in SPLITS]
    assert all(isinstance(one, LabelAnswer) for split in answers for one in split)
    return [[one.label for one in split] for split in answers]


@pytest.mark.parametrize(("name", "folder"), [("re-gad", ""), ("re-euadr", "1/")])
def test_a_test_file_may_have_a_header_and_an_index_that_the_training_file_lacks(
    tmp_path, name, folder
):
    files = {
        f"{folder}train.tsv": '@GENE$ causes "@DISEASE$.\t1\nNo @GENE$ in @DISEASE$.\t0\n',
        f"{folder}test.tsv": "index\tsentence\tlabel\n0\t@GENE$ and @DISEASE$.\t1\n",
    }
    assert labels(name, tmp_path, files) == [["1", "0"], [], ["1"]]


def test_the_test_file_with_labels_is_read_and_not_the_one_that_hides_them(tmp_path):
    head = "index\tsentence1\tSentence2\t"
    files = {
        "train.tsv": f"{head}label\n0\tIt rains.\tIt is wet.\tentailment\n",
        "dev.tsv": f"{head}entailment\n0\tIt rains.\tIt is dry.\tnot_entailment\n",
        "test.tsv": "index\tsentence1\tSentence2\n0\tIt snows.\tIt is cold.\n",
        "test1.tsv": f"{head}label\n0\tIt snows.\tIt is hot.\tnot_entailment\n",
    }
    assert labels("nli-covidfact", tmp_path, files) == [
        ["entailment"],
        ["not_entailment"],
        ["not_entailment"],
    ]


def test_every_split_of_clinifact_is_a_table_as_the_json_lines_hide_test_labels():
    files = find_card("nli-clinifact").files
    assert all(name.endswith(".csv.gz") for split in SPLITS for name in getattr(files, split))


def test_a_sheet_that_claims_all_columns_is_read_no_further_than_needed(tmp_path):
    book = Workbook()
    for number in range(2000):
        book.active.append(["Question", "Answer"] if number == 0 else ["Why?", f"So {number}."])
    book.active.cell(1, 16_384, "far out")
    book.save(tmp_path / "wide.xlsx")
    reader = ExcelReader(name="excel", row=RowShape(fields={"question": "Question"}, text="Answer"))
    (file,) = open_files(tmp_path, "wide.xlsx")
    start = time.process_time()
    records = list(reader.read(file))
    assert records[-1].answer.text == "So 1999."
    # 0.1 s as it is; all columns of all rows are 33 million cells
    assert time.process_time() - start < 4
