"""Texts in other files than their summaries are joined with them."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from clinprompt.errors import DataError
from clinprompt.tasks.readers.datasets.mediqa_mas import MediqaMasReader
from clinprompt.tasks.readers.datasets.primock import PrimockReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.excel import ExcelReader
from clinprompt.tasks.readers.generic.parallel import ParallelReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record, TextAnswer

SECRET = "zebrafishpatient"  # stands for record text: no error may show it

OLDER = "http://schemas.openxmlformats.org/{}/2006/{}"
STRICT = "http://purl.oclc.org/ooxml/{}/{}"
NAMES = [("spreadsheetml", "main"), ("officeDocument", "relationships")]


def book(rows, *, strict=False) -> bytes:
    made = Workbook()
    for row in rows:
        made.active.append(row)
    stream = io.BytesIO()
    made.save(stream)
    return in_strict_form(stream.getvalue()) if strict else stream.getvalue()


def in_strict_form(content: bytes) -> bytes:
    """Rename what has another name in the strict form of the standard, as Excel does."""
    renamed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(renamed, "w") as new:
        for member in old.namelist():
            held = old.read(member).decode()
            for name in NAMES:
                held = held.replace(OLDER.format(*name), STRICT.format(*name))
            new.writestr(member, held)
    return renamed.getvalue()


def read(reader, folder: Path, address: str) -> list[Record]:
    return [record for file in open_files(folder, address) for record in reader.read(file)]


def refusal(reader, folder: Path, address: str) -> str:
    with pytest.raises(DataError) as caught:
        read(reader, folder, address)
    assert SECRET not in str(caught.value)
    return str(caught.value)


class TestStrictWorkbooks:
    reader = ExcelReader(name="excel", row=RowShape(fields={"text": "Q"}, text="S"))
    rows = (("Q", "S", "n"), ("long\nquestion", "short", 1), ("other", "brief", 2))

    def test_strict_form_reads_as_the_usual_one(self, tmp_path):
        (tmp_path / "a.xlsx").write_bytes(book(self.rows))
        usual = read(self.reader, tmp_path, "a.xlsx")
        (tmp_path / "a.xlsx").write_bytes(book(self.rows, strict=True))
        assert read(self.reader, tmp_path, "a.xlsx") == usual
        assert usual[0] == Record("a:2", {"text": "long question"}, TextAnswer("short"))

    def test_archive_without_a_workbook_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
            archive.writestr("notes.txt", SECRET)
        assert "not a readable Excel workbook" in refusal(self.reader, tmp_path, "a.xlsx")


class TestMediqaMas:
    reader = MediqaMasReader(name="mediqa_mas", questions="q.txt", summaries="s.txt")
    answers = (
        ("QuestionID", "AnswerID", "Answer"),
        (7, "7_1", "First  answer."),
        (9, "9_1", "Alone."),
        (7, "7_2", "Second answer."),
    )

    def write(self, folder, *, answers=answers, questions="9||Who?\n7||Why?\n", strict=False):
        (folder / "a.xlsx").write_bytes(book(answers, strict=strict))
        (folder / "q.txt").write_text(questions)
        (folder / "s.txt").write_bytes(b"\xef\xbb\xbf7||In short. \r\n9||It || he\r\n")

    @pytest.mark.parametrize("strict", [False, True])
    def test_answers_to_one_question_are_joined_with_its_summary(self, tmp_path, strict):
        self.write(tmp_path, strict=strict)
        first, second = read(self.reader, tmp_path, "a.xlsx")
        assert first.fields == {"question": "Why?", "text": "First answer.\nSecond answer."}
        assert (first.id, first.answer) == ("a:7", TextAnswer("In short."))
        assert (second.fields["text"], second.answer) == ("Alone.", TextAnswer("It || he"))

    def test_question_that_lacks_a_part_is_named(self, tmp_path):
        self.write(tmp_path, questions="7||Why?\n")
        assert "question 9 has no" in refusal(self.reader, tmp_path, "a.xlsx")

    def test_damaged_lines_and_rows_are_named_by_number(self, tmp_path):
        self.write(tmp_path, questions=f"9||Who?\n{SECRET}\n")
        assert "q.txt:2: " in refusal(self.reader, tmp_path, "a.xlsx")
        self.write(tmp_path, questions="9||Who?\n9||Why?\n")
        assert "q.txt:2: " in refusal(self.reader, tmp_path, "a.xlsx")
        self.write(tmp_path, answers=(*self.answers, (None, SECRET, SECRET)))
        assert "a.xlsx:5: " in refusal(self.reader, tmp_path, "a.xlsx")


class TestParallel:
    reader = ParallelReader(name="parallel")

    def write(self, folder, sources, targets):
        (folder / "val.source.gz").write_bytes(gzip.compress(sources.encode()))
        (folder / "val.target.gz").write_bytes(gzip.compress(targets.encode()))

    def test_lines_of_equal_number_belong_together(self, tmp_path):
        self.write(tmp_path, "one  a\n\u2028two\n\n", "1\n2\n")
        first, second = read(self.reader, tmp_path, "val.source.gz")
        assert first == Record("val:1", {"text": "one a"}, TextAnswer("1"))
        assert (second.text, second.answer) == ("two", TextAnswer("2"))

    @pytest.mark.parametrize(("sources", "targets"), [(f"a\n{SECRET}\n", "1\n"), ("a\n\n", "1\n2")])
    def test_line_without_partner_is_named(self, tmp_path, sources, targets):
        self.write(tmp_path, sources, targets)
        assert "val.source.gz:2: no partner" in refusal(self.reader, tmp_path, "val.source.gz")

    def test_file_of_another_name_or_without_partner_is_refused(self, tmp_path):
        (tmp_path / "val.text").write_text("a\n")
        (tmp_path / "val.source").write_text("a\n")
        assert "no '.source'" in refusal(self.reader, tmp_path, "val.text")
        assert "val.target: cannot be read" in refusal(self.reader, tmp_path, "val.source")


def grid(*intervals: tuple[float, str], size: int | None = None) -> str:
    head = (
        f'File type = "ooTextFile"\nxmin = 0\nxmax = 99\nintervals: size = {size or len(intervals)}'
    )
    parts = (
        f'intervals [{n}]:\n    xmin = {start} \n    xmax = {start + 1} \n    text = "{words}" '
        for n, (start, words) in enumerate(intervals, start=1)
    )
    return "\n".join((head, *parts)).replace("\n", "\r\n")


class TestPrimock:
    reader = PrimockReader(name="primock")
    doctor = grid(
        (0, ""), (2.5, 'Hello, ""Mo"".'), (8, "<UNIN/>"), (30, "Take <UNSURE>it</UNSURE>.")
    )
    patient = grid((4, "Hi."), (11.25, "It\nhurts."), (100.0, "<INAUDIBLE_SPEECH/> Bye."))

    def pack(self, folder, *, patient=patient, note="Pain.\n\nPlan: rest."):
        held = {
            "notes/d1.json": json.dumps({"day": 1, "note": note, "highlights": [SECRET]}),
            "transcripts/d1_doctor.TextGrid": self.doctor,
            "transcripts/d1_patient.TextGrid": patient,
        }
        with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
            for name, content in held.items():
                member = tarfile.TarInfo(name)
                member.size = len(content.encode())
                archive.addfile(member, io.BytesIO(content.encode()))

    def test_turns_of_both_speakers_are_merged_by_time(self, tmp_path):
        self.pack(tmp_path)
        (record,) = read(self.reader, tmp_path, "all.tar.gz!notes/*.json")
        assert record.text == (
            'Doctor: Hello, "Mo".\nPatient: Hi. It hurts.\nDoctor: Take it.\nPatient: Bye.'
        )
        assert (record.id, record.group) == ("d1", "d1")
        assert record.answer == TextAnswer("Pain. Plan: rest.")

    def test_unpacked_folders_read_the_same(self, tmp_path):
        self.pack(tmp_path)
        with tarfile.open(tmp_path / "all.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        packed = read(self.reader, tmp_path, "all.tar.gz!notes/*.json")
        assert read(self.reader, tmp_path, "notes/*.json") == packed

    def test_transcript_with_too_few_intervals_is_refused(self, tmp_path):
        self.pack(tmp_path, patient=grid((4, SECRET), size=2))
        message = refusal(self.reader, tmp_path, "all.tar.gz!notes/*.json")
        assert "transcripts/d1_patient.TextGrid: the TextGrid lacks" in message

    def test_missing_note_is_named(self, tmp_path):
        self.pack(tmp_path, note=None)
        message = refusal(self.reader, tmp_path, "all.tar.gz!notes/*.json")
        assert "notes/d1.json: file: no text 'note'" in message
