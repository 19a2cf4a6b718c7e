"""Pairs of a text and a statement keep their fields, labels and groups as published."""

import json
import zipfile
from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.datasets.nli4ct import Nli4ctReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.delimited import TableReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import LabelAnswer, Record

SECRET = "zebrafishpatient"  # stands for record text: no error may show it

REPORT = {"Clinical Trial ID": "T1", "Results": ["Outcome: ", "  all  well", ""], "Eligibility": []}
STATEMENT = {
    "Type": "Comparison",
    "Section_id": "Results",
    "Primary_id": "T1",
    "Secondary_id": "T2",
    "Statement": "Both end  well.",
    "Label": "Entailment",
    "Primary_evidence_index": [1],
}


class TestNli4ct:
    reader = Nli4ctReader(name="nli4ct")

    def pack(self, folder: Path, statement: dict[str, object]) -> None:
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            archive.writestr("Set/train.json", json.dumps({"u1": statement}))
            archive.writestr("Set/CT json/T1.json", json.dumps(REPORT))
            archive.writestr("Set/CT json/T2.json", json.dumps(REPORT | {"Results": ["so so"]}))
            archive.writestr("__MACOSX/Set/CT json/._T1.json", SECRET)

    def read(self, folder: Path, address: str) -> list[Record]:
        return [record for file in open_files(folder, address) for record in self.reader.read(file)]

    def test_sections_of_both_trials_are_read_from_the_archive(self, tmp_path):
        self.pack(tmp_path, STATEMENT)
        (record,) = self.read(tmp_path, "all.zip!Set/train.json")
        assert record.fields == {
            "statement": "Both end well.",
            "section": "Results",
            "primary": "Outcome:\nall well",
            "secondary": "so so",
        }
        assert (record.id, record.answer, record.group) == ("u1", LabelAnswer("Entailment"), "T1")

    def test_statement_on_one_trial_has_no_second(self, tmp_path):
        single = {key: value for key, value in STATEMENT.items() if key != "Secondary_id"}
        self.pack(tmp_path, single)
        (record,) = self.read(tmp_path, "all.zip!Set/train.json")
        assert record.fields["secondary"] == "none"

    def test_unpacked_folder_reads_the_same(self, tmp_path):
        self.pack(tmp_path, STATEMENT)
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            archive.extractall(tmp_path)
        packed = self.read(tmp_path, "all.zip!Set/train.json")
        assert self.read(tmp_path, "Set/train.json") == packed

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"Label": None}, "no text 'Label'"),
            ({"Primary_id": "T9"}, "'CT json/T9.json'"),
            ({"Primary_id": f"../{SECRET}"}, "letters and digits"),
            ({"Section_id": "Rezults"}, "no list 'Rezults'"),
        ],
    )
    def test_damaged_statement_is_named_by_file(self, tmp_path, changes, says):
        self.pack(tmp_path, STATEMENT | changes)
        with pytest.raises(DataError) as caught:
            self.read(tmp_path, "all.zip!Set/train.json")
        assert "Set/train.json" in str(caught.value)
        assert says in str(caught.value)
        assert SECRET not in str(caught.value)

    def test_statements_without_labels_are_refused(self, tmp_path):
        self.pack(tmp_path, {key: value for key, value in STATEMENT.items() if key != "Label"})
        with pytest.raises(DataError, match="u1 has no label"):
            self.read(tmp_path, "all.zip!Set/train.json")


class TestTables:
    def read(self, path: Path, content: str, shape: RowShape, **settings) -> list[Record]:
        path.write_bytes(content.encode())
        (file,) = open_files(path.parent, path.name)
        return list(TableReader(name="table", row=shape, **settings).read(file))

    def test_rows_of_empty_cells_only_are_skipped(self, tmp_path):
        shape = RowShape(id="Text ID", fields={"text": "Text"}, label="Error Flag")
        content = "Text ID,Text,Error Flag\nx1,Took it.,1\n,,\n,,\n"
        (record,) = self.read(tmp_path / "a.csv", content, shape)
        assert record == Record("x1", {"text": "Took it."}, LabelAnswer("1"))

    def test_doubled_marks_of_a_tab_separated_cell_are_one(self, tmp_path):
        shape = RowShape(fields={"claim": "Sentence2"}, label="label")
        content = 'index\tSentence2\tlabel\n0\t"they \'rest 16"" days"\tentailment\n1\ta "b"\tno\n'
        records = self.read(tmp_path / "a.tsv", content, shape, delimiter="tab")
        assert [r.fields["claim"] for r in records] == ["they 'rest 16\" days", 'a "b"']

    def test_group_of_a_claim_is_its_topic(self, tmp_path):
        shape = RowShape(fields={"claim": "claim"}, label="label", group="topic")
        content = "claim,label,topic\nOne.,Supports,3\nTwo.,Refutes,3\n"
        records = self.read(tmp_path / "a.csv", content, shape)
        assert [record.group for record in records] == ["3", "3"]

    def test_equal_rows_with_other_labels_are_both_kept(self, tmp_path):
        shape = RowShape(fields={"note": "premise", "statement": "hypothesis"}, label="label")
        content = "premise,hypothesis,label\nAt home.,Has one.,True\nAt home.,Has one.,False\n"
        records = self.read(tmp_path / "a.csv", content, shape)
        assert [record.answer.label for record in records] == ["True", "False"]
