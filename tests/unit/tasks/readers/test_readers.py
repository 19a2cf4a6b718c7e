"""Every reader gives the records of its format, and names file and line of what it cannot read."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from clinprompt.errors import DataError
from clinprompt.tasks.readers.datasets.headqa import HeadqaReader
from clinprompt.tasks.readers.datasets.mediqa_ans import MediqaAnsReader
from clinprompt.tasks.readers.datasets.phee import PheeReader
from clinprompt.tasks.readers.datasets.pubmedqa import PubmedqaReader
from clinprompt.tasks.readers.generic.conll import ConllReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.delimited import TableReader
from clinprompt.tasks.readers.generic.excel import ExcelReader
from clinprompt.tasks.readers.generic.jsonl import JsonlReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.readers.generic.squad import SquadReader
from clinprompt.tasks.readers.generic.xml_pairs import XmlPairsReader
from clinprompt.tasks.records import LabelAnswer, Record, Relation, Span, SpansAnswer, TextAnswer

SECRET = "zebrafishpatient"  # stands for record text: no error may show it


def read(reader, path: Path, content: str | bytes, part: str = "") -> list[Record]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (file,) = open_files(path.parent, f"{path.name}!{part}" if part else path.name)
    return list(reader.read(file))


def mentions(record: Record) -> list[tuple[str, str]]:
    return [(record.text[span.start : span.end], span.type) for span in record.answer.spans]


def refusal(reader, path: Path, content: str | bytes, part: str = "") -> str:
    with pytest.raises(DataError) as caught:
        read(reader, path, content, part)
    message = str(caught.value)
    assert SECRET not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


class TestConll:
    tab = ConllReader(name="conll")

    def test_iob_tags_become_spans_of_the_joined_tokens(self, tmp_path):
        lines = "He\tO\nhas\tO\nsevere\tB-Problem\nasthma\tI-Problem\n.\tO\n\nFine\tO\n"
        first, second = read(self.tab, tmp_path / "a.tsv", lines)
        assert first.text == "He has severe asthma ."
        assert first.answer == SpansAnswer((Span(7, 20, "Problem"),))
        assert (first.id, second.id) == ("a:1", "a:7")
        assert second.answer == SpansAnswer(())

    def test_crlf_lines_give_the_same_offsets_as_lf_lines(self, tmp_path):
        lines = "No\tO\nrash\tB-X\n\nOk\tO\n"
        unix = read(self.tab, tmp_path / "a.tsv", lines)
        assert read(self.tab, tmp_path / "a.tsv", lines.replace("\n", "\r\n")) == unix

    def test_adjacent_spans_and_orphan_inside_tags_start_a_new_span(self, tmp_path):
        lines = "a\tB-X\nb\tB-X\nc\tI-Y\nd\tI-Y\ne\tO\nf\tI-X\n"
        (record,) = read(self.tab, tmp_path / "a.tsv", lines)
        assert mentions(record) == [("a", "X"), ("b", "X"), ("c d", "Y"), ("f", "X")]

    def test_bare_tags_take_the_bare_type(self, tmp_path):
        reader = ConllReader(name="conll", bare_type="Species")
        (record,) = read(reader, tmp_path / "a.tsv", "wild\tB\nboar\tI\nran\tO\n")
        assert mentions(record) == [("wild boar", "Species")]

    def test_blank_columns_and_document_lines_are_read(self, tmp_path):
        reader = ConllReader(name="conll", separator="blank", tag=3)
        lines = "-DOCSTART- (7)\n\nold NN O I-PAR\nmen NN O I-PAR\n\nok NN O O\n"
        first, second = read(reader, tmp_path / "a.txt", lines)
        assert mentions(first) == [("old men", "PAR")]
        assert first.group == second.group == "a:document1"

    def test_a_document_line_ends_the_sentence_before_it(self, tmp_path):
        lines = "iron\tB-X\n-DOCSTART-\tO\nzinc\tI-X\n"
        first, second = read(self.tab, tmp_path / "a.tsv", lines)
        assert (mentions(first), mentions(second)) == ([("iron", "X")], [("zinc", "X")])
        assert (first.group, second.group) == ("", "a:document2")
        assert (first.id, second.id) == ("a:1", "a:3")

    def test_unusual_line_separators_stay_inside_tokens(self, tmp_path):
        (record,) = read(self.tab, tmp_path / "a.tsv", "a\u2028b\tB-X\nc\tO\n")
        assert record.text == "a\u2028b c"

    @pytest.mark.parametrize(
        ("line", "says"),
        [(SECRET, "1 column"), (f"x\t{SECRET}", "must be one of O"), (f"{SECRET}\tB", "bare_type")],
    )
    def test_damaged_line_is_named_by_file_and_line(self, tmp_path, line, says):
        message = refusal(self.tab, tmp_path / "a.tsv", f"ok\tO\n{line}\n")
        assert message.startswith(":2: ")
        assert says in message


class TestJsonl:
    @pytest.mark.parametrize(
        "mention",
        [
            [5, 9, "DRUG"],
            {"start": 5, "end": 9, "label": "DRUG", "token_start": 1},
            {"id": 7, "start_offset": 5, "end_offset": 9, "label": "DRUG"},
        ],
    )
    def test_mentions_are_read_in_the_forms_of_usual_tools(self, tmp_path, mention):
        reader = JsonlReader(name="jsonl", spans="label", row=RowShape(fields={"text": "text"}))
        put = tmp_path / "a.jsonl"
        put.write_text(json.dumps({"text": "Took iron.", "label": [mention]}))
        [record] = reader.read(*open_files(tmp_path, "a.jsonl"))
        assert record.answer.spans == (Span(5, 9, "DRUG"),)

    def test_labels_options_and_ids_come_from_named_values(self, tmp_path):
        shape = RowShape(id="n", fields={"question": "q"}, label="right", options="choices")
        row = {"n": 4, "q": "Which  one?", "right": "B", "choices": {"A": "this", "B": "that"}}
        reader = JsonlReader(name="jsonl", row=shape)
        (record,) = read(reader, tmp_path / "a.jsonl", json.dumps(row) + "\n\n")
        assert record == Record("4", {"question": "Which one?"}, LabelAnswer("B"), ("this", "that"))

    def test_mentions_of_one_type_at_one_place_are_one(self, tmp_path):
        held = [[5, 9, "DRUG"], [5, 9, "DRUG"], [5, 9, "IRON"]]
        row = RowShape(fields={"text": "text"})
        reader = JsonlReader(name="jsonl", spans="spans", row=row)
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps({"text": "Took iron.", "spans": held}))
        [record] = reader.read(*open_files(tmp_path, "a.jsonl"))
        assert record.answer.spans == (Span(5, 9, "DRUG"), Span(5, 9, "IRON"))

    @pytest.mark.parametrize(
        ("key", "hint"), [("span", "did you mean span"), ("other", "correct reader.spans")]
    )
    def test_a_file_without_any_list_of_mentions_is_refused(self, tmp_path, key, hint):
        """Else a misspelled key would make every note one with nothing to find."""
        rows = [{"text": "Took iron.", key: [[5, 9, "D"]]}, {"text": SECRET}]
        reader = JsonlReader(name="jsonl", spans="spans", row=RowShape(fields={"text": "text"}))
        path, lines = tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))
        assert f"no line has a list named 'spans'; {hint}" in refusal(reader, path, lines)
        empty = json.dumps({"text": "Well.", "spans": []})
        assert len(read(reader, path, f"{empty}\n{lines}")) == 3

    def test_spans_may_be_absent_and_count_crlf_characters(self, tmp_path):
        rows = [
            {"text": "Pain.\r\nTook  aspirin", "spans": [{"start": 13, "end": 20, "label": "D"}]},
            {"text": "Nothing"},
        ]
        reader = JsonlReader(name="jsonl", spans="spans", row=RowShape(fields={"text": "text"}))
        lines = "\n".join(map(json.dumps, rows))
        first, second = read(reader, tmp_path / "a.jsonl", lines)
        assert mentions(first) == [("aspirin", "D")]
        assert second.answer == SpansAnswer(())

    def test_text_answer_and_no_answer(self, tmp_path):
        line = json.dumps({"note": "long", "brief": "a\n b"})
        reader = JsonlReader(name="jsonl", row=RowShape(fields={"text": "note"}, text="brief"))
        open_ = JsonlReader(name="jsonl", row=RowShape(fields={"text": "note"}))
        assert read(reader, tmp_path / "a.jsonl", line)[0].answer == TextAnswer("a b")
        assert read(open_, tmp_path / "a.jsonl", line)[0].answer is None

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ('{"text": "' + SECRET, "not JSON"),
            (f'["{SECRET}"]', "not a JSON object"),
            (f'{{"txt": "{SECRET}"}}', "did you mean txt"),
            (f'{{"text": ["{SECRET}"]}}', "is a list"),
            ('{"text": "abc", "spans": [{"start": 1, "end": 9, "label": "D"}]}', "is outside"),
            (f'{{"text": "abc", "spans": [{{"start": "{SECRET}"}}]}}', "whole numbers"),
        ],
    )
    def test_damaged_line_is_named_by_file_and_line(self, tmp_path, line, says):
        reader = JsonlReader(name="jsonl", spans="spans", row=RowShape(fields={"text": "text"}))
        message = refusal(reader, tmp_path / "a.jsonl", f'{{"text": "ok"}}\n{line}\n')
        assert message.startswith(":2: ")
        assert says in message


class TestTable:
    def test_headerless_columns_are_named_by_number(self, tmp_path):
        shape = RowShape(fields={"first": "1", "second": "2"}, label="3", group="1")
        reader = TableReader(name="table", header=False, row=shape)
        first, _ = read(reader, tmp_path / "a.csv", '7,"One, two?",Two?,1\r\n8,b,c,0\r\n')
        assert first.fields == {"first": "One, two?", "second": "Two?"}
        assert (first.answer, first.group, first.id) == (LabelAnswer("1"), "One, two?", "a:1")

    def test_header_and_bom_and_quoted_line_break(self, tmp_path):
        reader = TableReader(name="table", row=RowShape(fields={"text": "note"}, text="brief"))
        content = '\ufeffnote,brief\n"two\nlines",short\nx,y\n'
        first, second = read(reader, tmp_path / "a.csv", content)
        assert (first.text, first.answer) == ("two lines", TextAnswer("short"))
        assert second.id == "a:4"

    def test_quotation_marks_are_characters_if_quotes_are_off(self, tmp_path):
        shape = RowShape(fields={"text": "0"}, label="1")
        reader = TableReader(name="table", delimiter="tab", header=False, quotes=False, row=shape)
        assert read(reader, tmp_path / "a.tsv", '"odd\t1\n')[0].text == '"odd'

    def test_score_above_the_threshold_is_label_1(self, tmp_path):
        shape = RowShape(fields={"text": "t"}, label="score", above=0)
        records = read(
            TableReader(name="table", row=shape), tmp_path / "a.csv", "t,score\na,0.1\nb,0\n"
        )
        assert [record.answer.label for record in records] == ["1", "0"]

    @pytest.mark.parametrize(
        ("content", "line", "says"),
        [
            (f"t,l\nx,1\n{SECRET}\n", 3, "1 columns, but the first row has 2"),
            (f't,l\nx,1\n"{SECRET},1\n', 3, "quotation marks"),
            (f"tt,l\n{SECRET},1\n", 2, "did you mean tt"),
            (f"{SECRET},l\nx,1\n", 2, "no value named 't'"),
        ],
    )
    def test_damaged_row_is_named_by_file_and_line(self, tmp_path, content, line, says):
        reader = TableReader(name="table", row=RowShape(fields={"t": "t"}, label="l"))
        message = refusal(reader, tmp_path / "a.csv", content)
        assert message.startswith(f":{line}: ")
        assert says in message


class TestExcel:
    reader = ExcelReader(name="excel", row=RowShape(fields={"text": "Q"}, text="S"))

    def book(self, rows, title="one"):
        book = Workbook()
        book.create_sheet("spare")
        book.active.title = title
        for row in rows:
            book.active.append(row)
        stream = io.BytesIO()
        book.save(stream)
        return stream.getvalue()

    def test_rows_are_read_by_header(self, tmp_path):
        content = self.book([("File", "Q", "S"), ("x", "a\nb", 5), (None, None, None)])
        (record,) = read(self.reader, tmp_path / "a.xlsx", content)
        assert record == Record("a:2", {"text": "a b"}, TextAnswer("5"))

    def test_a_needed_column_that_appears_twice_is_refused(self, tmp_path):
        rows = [("Q", "S", "S", "note", "note"), ("q", "s", "other", 1, 2)]
        message = refusal(self.reader, tmp_path / "a.xlsx", self.book(rows))
        assert "columns 2 and 3 have the same name" in message
        spare = [("Q", "S", "note", "note"), ("q", "s", 1, 2)]
        assert len(read(self.reader, tmp_path / "a.xlsx", self.book(spare))) == 1

    def test_a_row_with_a_remark_only_is_not_blank(self, tmp_path):
        rows = [("Q", "S", "remark"), ("q", "s", None), (None, None, "to do")]
        assert refusal(self.reader, tmp_path / "a.xlsx", self.book(rows)).startswith(":3: ")

    def test_part_of_the_address_names_the_sheet(self, tmp_path):
        content = self.book([("Q", "S"), ("q", "s")])
        assert len(read(self.reader, tmp_path / "a.xlsx", content, "one")) == 1
        assert "did you mean one" in refusal(self.reader, tmp_path / "a.xlsx", content, "onne")

    def test_empty_cell_missing_column_and_damage_are_named(self, tmp_path):
        path = tmp_path / "a.xlsx"
        assert refusal(self.reader, path, self.book([("Q", "S"), (SECRET, None)])).startswith(
            ":2: "
        )
        assert "no value named 'S'" in refusal(self.reader, path, self.book([("Q", SECRET)]))
        assert "not a readable Excel" in refusal(self.reader, path, b"PK" + SECRET.encode())


class TestXmlPairs:
    reader = XmlPairsReader(
        name="xml_pairs", row=RowShape(fields={"first": "chq", "second": "faq"}, label="@value")
    )

    def test_pairs_are_read(self, tmp_path):
        content = (
            '<s><pair pid="1" value="true"><chq>\n a <b>bold</b>\n c </chq><faq>d</faq></pair></s>'
        )
        (record,) = read(self.reader, tmp_path / "a.xml", content)
        assert record.fields == {"first": "a bold c", "second": "d"}
        assert record.answer == LabelAnswer("true")

    def test_external_entities_are_refused(self, tmp_path):
        (tmp_path / "secret.txt").write_text(SECRET)
        content = (
            '<!DOCTYPE s [<!ENTITY e SYSTEM "secret.txt">]>\n'
            '<s><pair value="true"><chq>&e;</chq><faq>d</faq></pair></s>'
        )
        assert "entities" in refusal(self.reader, tmp_path / "a.xml", content)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (f"<s>\n<pair>{SECRET}</s>", "not well-formed"),
            (f'<s>\n<pair value="true"><chq>{SECRET}</chq></pair></s>', "no value named 'faq'"),
        ],
    )
    def test_damaged_element_is_named_by_file_and_line(self, tmp_path, content, says):
        message = refusal(self.reader, tmp_path / "a.xml", content)
        assert message.startswith(":2: ")
        assert says in message

    def test_file_without_pairs_is_refused(self, tmp_path):
        assert "reader.pair" in refusal(self.reader, tmp_path / "a.xml", "<s/>")


class TestPubmedqa:
    reader = PubmedqaReader(name="pubmedqa")

    def test_part_chooses_the_split(self, tmp_path):
        (tmp_path / "test_ground_truth.json").write_text('{"2": "maybe"}')
        entry = {"QUESTION": "Is it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}
        content = json.dumps({"1": entry, "2": entry, "3": entry})
        path = tmp_path / "all.json"
        (record,) = read(self.reader, path, content, "test")
        assert record.fields == {"question": "Is it?", "context": "One. Two."}
        assert (record.id, record.answer) == ("2", LabelAnswer("maybe"))
        assert [other.id for other in read(self.reader, path, content, "train")] == ["1", "3"]
        assert "FILE!train" in refusal(self.reader, path, content)

    def test_missing_list_of_test_ids_is_named(self, tmp_path):
        path = tmp_path / "all.json"
        path.write_text("{}")
        (file,) = open_files(tmp_path, "all.json!test")
        with pytest.raises(DataError, match=r"test_ground_truth\.json"):
            list(self.reader.read(file))


class TestHeadqa:
    reader = HeadqaReader(name="headqa")

    def exam(self, **changes):
        answers = [
            {"aid": 2, "atext": "no"},
            {"aid": 1, "atext": "yes "},
            {"aid": 3, "atext": "so"},
        ]
        question = {"qid": 5, "qtext": "Is it?", "ra": "1", "answers": answers, "image": ""}
        return json.dumps({"exams": {"E": {"data": [question | changes]}}})

    def test_right_answer_is_found_by_its_number(self, tmp_path):
        (record,) = read(self.reader, tmp_path / "a.json", self.exam())
        assert record == Record(
            "E:5", {"question": "Is it?"}, LabelAnswer("B"), ("no", "yes", "so")
        )

    def test_questions_with_an_image_are_left_out(self, tmp_path):
        assert read(self.reader, tmp_path / "a.json", self.exam(image="x.png")) == []

    def test_right_answer_that_is_no_option_is_refused(self, tmp_path):
        assert "E:5" in refusal(self.reader, tmp_path / "a.json", self.exam(ra="9"))


class TestSquad:
    def content(self, answers):
        question = {"id": 1, "question": "Where?", "answers": answers}
        context = "a" * 40 + " home " + "b" * 40
        return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]})

    def test_context_is_read_whole_and_the_article_is_the_group(self, tmp_path):
        content = self.content([{"text": "home", "answer_start": 41}])
        (record,) = read(SquadReader(name="squad"), tmp_path / "a.json", content)
        assert len(record.fields["context"]) == 86
        assert (record.answer, record.group) == (TextAnswer("home"), "a:article1")

    def test_answer_counted_a_few_characters_wrong_is_taken(self, tmp_path):
        content = self.content([{"text": "home", "answer_start": 44}])  # it stands at 41
        (record,) = read(SquadReader(name="squad"), tmp_path / "a.json", content)
        assert record.answer == TextAnswer("home")

    def test_question_without_answer_is_unanswerable(self, tmp_path):
        (record,) = read(SquadReader(name="squad"), tmp_path / "a.json", self.content([]))
        assert record.answer == TextAnswer("unanswerable")

    def test_misplaced_answer_is_refused(self, tmp_path):
        content = self.content([{"text": SECRET, "answer_start": 2}])
        assert "question 1" in refusal(SquadReader(name="squad"), tmp_path / "a.json", content)


def test_mediqa_ans_reads_one_article_or_several(tmp_path):
    content = json.dumps(
        {
            "1_a": {"question": "q", "articles": "one  text", "summary": "s"},
            "1_b": {"question": "q", "articles": {"x": ["one", "3"], "y": ["two"]}, "summary": "t"},
        }
    )
    first, second = read(MediqaAnsReader(name="mediqa_ans"), tmp_path / "a.json", content)
    assert (first.text, first.answer) == ("one text", TextAnswer("s"))
    assert second.text == "one two"
    assert first.group == second.group == "1"


class TestPhee:
    reader = PheeReader(name="phee")
    given = PheeReader(name="phee", given=True)
    text = "Rash and fever after oral madeupin 5 mg"

    def line(self, drug_start=26):
        def argument(*pieces):
            return {"text": [list(pieces)], "start": [[self.text.index(piece) for piece in pieces]]}

        drug = {"text": [["madeupin"]], "start": [[drug_start]]}
        treatment = {"Drug": drug, "Route": argument("oral"), "Dosage": argument("5 mg")}
        event = {"Effect": argument("Rash", "fever"), "Treatment": treatment}
        annotations = [{"events": [event, event, {"Trigger": argument("after")}]}]
        return json.dumps({"id": "7", "context": self.text, "annotations": annotations})

    def test_drugs_are_linked_to_first_pieces_within_their_event(self, tmp_path):
        (record,) = read(self.reader, tmp_path / "a.json", self.line())
        drug = Span(26, 34, "")
        assert record.answer.relations == (
            Relation("effect", drug, Span(0, 4, "")),
            Relation("route", drug, Span(21, 25, "")),
            Relation("dosage", drug, Span(35, 39, "")),
        )

    def test_given_mentions_are_listed_with_what_they_are(self, tmp_path):
        (record,) = read(self.reader, tmp_path / "a.json", self.line())
        (given,) = read(self.given, tmp_path / "a.json", self.line())
        assert given.answer == record.answer
        assert given.fields == record.fields | {
            "mentions": "effect: Rash\nroute: oral\ndrug: madeupin\ndosage: 5 mg"
        }

    def test_misplaced_argument_is_named_by_file_and_line(self, tmp_path):
        message = refusal(self.reader, tmp_path / "a.json", self.line() + "\n" + self.line(3))
        assert message.startswith(":2: ")

    def test_damaged_line_is_named_by_file_and_line(self, tmp_path):
        assert refusal(self.reader, tmp_path / "a.json", "{").startswith(":1: not JSON")


def test_row_shape_refuses_settings_without_effect():
    with pytest.raises(ValueError, match="not both"):
        RowShape(fields={}, label="a", text="b")
    with pytest.raises(ValueError, match="no effect"):
        RowShape(fields={}, options="a")


def test_zip_reader_sees_members_in_order(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/b.tsv", "b\tO\n")
        archive.writestr("in/a.tsv", "a\tO\n")
        archive.writestr("out/c.tsv", "c\tO\n")
    texts = [
        record.text
        for file in open_files(tmp_path, "a.zip!in/*.tsv")
        for record in ConllReader(name="conll").read(file)
    ]
    assert texts == ["a", "b"]
