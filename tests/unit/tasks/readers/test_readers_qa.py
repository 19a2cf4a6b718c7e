"""Question sets in their publishers' forms become questions with one answer each."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.card_parts import Resplit
from clinprompt.tasks.load import move_groups
from clinprompt.tasks.readers.datasets.bioasq import BioasqReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.delimited import TableReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.readers.generic.xml_pairs import XmlPairsReader
from clinprompt.tasks.records import LabelAnswer, Record, TextAnswer

SECRET = "zebrafishpatient"  # stands for record text: no error may show it


def read(reader, path: Path, content: str) -> list[Record]:
    path.write_bytes(content.encode())
    (file,) = open_files(path.parent, path.name)
    return list(reader.read(file))


def refusal(reader, path: Path, content: str) -> str:
    with pytest.raises(DataError) as caught:
        read(reader, path, content)
    message = str(caught.value)
    assert SECRET not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


class TestOptionsInOneCell:
    reader = TableReader(
        name="table",
        delimiter="tab",
        row=RowShape(fields={"question": "question"}, label="answer_idx", options="options"),
    )
    pairs = "[{'key': 'A', 'value': \"a nurse's  cap\"}, {'key': 'B', 'value': 'a shoe'}]"

    def rows(self, options):
        cell = options.replace('"', '""')
        return f'\tquestion\tanswer_idx\toptions\n0\tWhich is worn?\tB\t"{cell}"\n'

    @pytest.mark.parametrize(
        "options",
        [
            pairs,
            "{'A': \"a nurse's cap\", 'B': 'a shoe'}",
            "[\"a nurse's cap\", 'a shoe']",
        ],
    )
    def test_python_list_or_table_in_a_cell_is_read(self, tmp_path, options):
        (record,) = read(self.reader, tmp_path / "dev.tsv", self.rows(options))
        assert record.options == ("a nurse's cap", "a shoe")
        assert (record.id, record.answer) == ("dev:2", LabelAnswer("B"))

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (f"[{SECRET}", "no list or mapping"),
            (f"{SECRET}()", "no list or mapping"),
            ("[{'key': 'B', 'value': 'x'}]", "letters A, B, C"),
            ("{[]: 1}", "no list or mapping"),
            ("[{'key': 'A', 'value': 'x'}, {'key': 'A', 'value': 'y'}]", "one letter"),
            ("7", "must be a list"),
        ],
    )
    def test_other_text_in_the_cell_is_refused_with_its_line(self, tmp_path, options, says):
        message = refusal(self.reader, tmp_path / "dev.tsv", self.rows(options))
        assert message.startswith(":2: ")
        assert says in message


def test_headerless_questions_take_their_options_from_columns(tmp_path):
    shape = RowShape(fields={"question": "0"}, label="3", options=("1", "2"))
    reader = TableReader(name="table", header=False, row=shape)
    (record,) = read(reader, tmp_path / "a_test.csv", '"Which, if any?",this,that,A\n')
    expected = Record(
        "a_test:1", {"question": "Which, if any?"}, LabelAnswer("A"), ("this", "that")
    )
    assert record == expected


def test_questions_of_one_stem_stay_in_one_split(tmp_path):
    shape = RowShape(fields={"question": "0"}, label="3", options=("1", "2"))
    reader = TableReader(name="table", header=False, row=shape)
    content = "".join(f"Stem {number // 2}?,o{number},p,A\n" for number in range(60))
    splits = {"train": tuple(read(reader, tmp_path / "a.csv", content))}
    moved = move_groups({"validation": (), "test": (), **splits}, Resplit(test=0.5))
    stems = [{record.fields["question"] for record in moved[split]} for split in ("train", "test")]
    assert not stems[0] & stems[1]
    assert all(stems)


class TestBioasq:
    reader = BioasqReader(name="bioasq")

    def content(self, **changes):
        snippets = [{"text": "One  says so."}, {"text": "Another too."}, {"text": "One says so."}]
        asked = {
            "id": "q1",
            "type": "yesno",
            "body": "Is it so?",
            "exact_answer": "Yes",
            "snippets": snippets,
        }
        listed = {"id": "q2", "type": "list", "body": SECRET, "exact_answer": [["a"]]}
        return json.dumps({"questions": [listed, asked | changes]})

    def test_only_yes_no_questions_are_read_with_each_snippet_once(self, tmp_path):
        (record,) = read(self.reader, tmp_path / "a.json", self.content())
        assert record == Record(
            "q1",
            {"question": "Is it so?", "context": "One says so.\nAnother too."},
            LabelAnswer("yes"),
            group="Is it so?",
        )

    @pytest.mark.parametrize("changes", [{"exact_answer": [SECRET]}, {"snippets": None}])
    def test_question_without_a_value_is_named(self, tmp_path, changes):
        assert "q1: no " in refusal(self.reader, tmp_path / "a.json", self.content(**changes))


class TestAnswersOfAQuestion:
    reader = XmlPairsReader(
        name="xml_pairs",
        pair="Answer",
        row=RowShape(
            fields={"question": "../../QuestionText", "answer": "AnswerText"},
            label="@ReferenceScore",
            above=2.0,
        ),
    )

    def content(self, *scores):
        answers = "\n".join(
            f'<Answer AID="1_{score}" ReferenceScore="{score}"><AnswerText>says {score}'
            "</AnswerText></Answer>"
            for score in scores
        )
        return (
            "<Set><Question><QuestionText>Why?</QuestionText><AnswerList>"
            f"{answers}</AnswerList></Question></Set>"
        )

    def test_each_answer_takes_the_question_above_it(self, tmp_path):
        first, _, _, last = read(self.reader, tmp_path / "a.xml", self.content(1, 2, 3, 4))
        assert first.fields == {"question": "Why?", "answer": "says 1"}
        assert last.fields == {"question": "Why?", "answer": "says 4"}

    def test_score_of_three_or_more_fits(self, tmp_path):
        records = read(self.reader, tmp_path / "a.xml", self.content(1, 2, 3, 4))
        assert [record.answer.label for record in records] == ["0", "0", "1", "1"]

    def test_answers_of_files_with_equal_numbers_differ_in_id(self, tmp_path):
        ids = {
            read(self.reader, tmp_path / name, self.content(1))[0].id for name in ("a.xml", "b.xml")
        }
        assert len(ids) == 2

    def test_a_file_of_an_archive_is_a_document_that_may_have_no_pair(self, tmp_path):
        documents = {"a/1.xml": self.content(1, 4), "b/1.xml": self.content(3), "b/2.xml": "<Set/>"}
        with tarfile.open(tmp_path / "all.tar.gz", mode="w:gz") as archive:
            for name, content in documents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
        files = open_files(tmp_path, "all.tar.gz!*.xml")
        records = [record for file in files for record in self.reader.read(file)]
        assert [(record.id, record.group) for record in records] == [
            ("a/1:1", "a/1"),
            ("a/1:2", "a/1"),
            ("b/1:1", "b/1"),
        ]

    def test_a_pair_with_an_empty_answer_is_skipped(self, tmp_path):
        row = RowShape(fields={"question": "Q"}, text="A")
        reader = XmlPairsReader(name="xml_pairs", pair="P", row=row)
        content = "<S><P><Q>Why?</Q><A> </A></P><P><Q>How?</Q><A>So.</A></P></S>"
        (record,) = read(reader, tmp_path / "a.xml", content)
        assert record == Record("a:2", {"question": "How?"}, TextAnswer("So."))

    def test_missing_question_is_named_by_line(self, tmp_path):
        content = self.content(1).replace("QuestionText", "Other")
        assert refusal(self.reader, tmp_path / "a.xml", content).startswith(":1: no value named")
