"""Mentions that bring their text are checked against it, and read as their file counts."""

import json

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.datasets.ddi import DdiReader
from clinprompt.tasks.readers.datasets.phee import PheeReader
from clinprompt.tasks.readers.generic.brat import BratReader
from clinprompt.tasks.readers.generic.conll import ConllReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.delimited import TableReader
from clinprompt.tasks.readers.generic.jsonl import JsonlReader
from clinprompt.tasks.readers.generic.pubtator import PubtatorReader
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.readers.notes import reading_notes
from clinprompt.tasks.records import LabelAnswer, Span

SECRET = "zebrafishpatient"
PILL = "Rx \N{PILL} given: metformin at night"  # the pill takes two UTF-16 code units
JSONL = JsonlReader(name="jsonl", spans="spans", row=RowShape(fields={"text": "text"}))
BRAT = BratReader(name="brat", view={"answer": "entities"})


def at(start, end, shown=None, label="DRUG"):
    return {"start": start, "end": end, "label": label} | ({"text": shown} if shown else {})


def put(folder, *rows):
    lines = "\n".join(json.dumps(row) for row in rows)
    (folder / "a.jsonl").write_text(lines, encoding="utf-8")
    return open_files(folder, "a.jsonl")


def words(records):
    return [[one.text[span.start : span.end] for span in one.answer.spans] for one in records]


class TestJsonLines:
    def test_offsets_in_utf16_are_read_so_if_every_text_fits(self, tmp_path):
        # in characters metformin is at 12, in UTF-16 at 13; the span without a text follows
        rows = [
            {"text": PILL, "spans": [at(13, 22, "metformin"), at(26, 31)]},
            {"text": "Iron.", "spans": [at(0, 4, "Iron")]},
        ]
        files = put(tmp_path, *rows)
        assert words(JSONL.read(*files)) == [["metformin", "night"], ["Iron"]]
        [note] = reading_notes(JSONL, files)
        assert "count UTF-16 code units, not characters" in note

    @pytest.mark.parametrize("shown", [None, "metformin"])
    def test_offsets_in_characters_stay_as_they_are(self, tmp_path, shown):
        files = put(tmp_path, {"text": PILL, "spans": [at(12, 21, shown)]})
        [record] = JSONL.read(*files)
        assert record.answer.spans == (Span(12, 21, "DRUG"),)
        assert reading_notes(JSONL, files) == ()

    def test_a_file_that_counts_in_two_ways_is_refused(self, tmp_path):
        rows = [
            {"text": PILL, "spans": [at(12, 21, "metformin")]},
            {"text": PILL, "spans": [at(13, 22, "metformin")]},
        ]
        with pytest.raises(DataError, match=r"a\.jsonl:2: the offsets 13-22 .* only if they count"):
            list(JSONL.read(*put(tmp_path, *rows)))

    @pytest.mark.parametrize(
        ("starts", "line", "says"),
        [
            ([13, 13, 14], 3, "offsets 14-23 cover.*; the other spans of the file count these"),
            ([14, 12, 12], 1, "offsets 14-23 cover, neither in characters nor in UTF-16 code"),
            ([13, 12, 13], 2, "12-21 .* only if they count characters, but most .* UTF-16 code"),
            ([12, 12, 13], 3, "13-22 .* only if they count UTF-16 code units, but most .* char"),
            ([12, 13, 13, 14], 4, "offsets 14-23 cover"),  # fits no way, so it is named first
        ],
    )
    def test_the_span_that_differs_from_the_others_is_named(self, tmp_path, starts, line, says):
        rows = [{"text": PILL, "spans": [at(one, one + 9, "metformin")]} for one in starts]
        with pytest.raises(DataError, match=rf"a\.jsonl:{line}: .*{says}"):
            list(JSONL.read(*put(tmp_path, *rows)))

    def test_a_wrong_text_is_refused_with_file_line_and_span(self, tmp_path):
        rows = [
            {"text": "Iron.", "spans": [at(0, 4, "Iron")]},
            {"text": f"{SECRET} took iron", "spans": [at(3, 8, SECRET)]},
        ]
        with pytest.raises(DataError, match=r"a\.jsonl:2: .* offsets 3-8 cover") as caught:
            list(JSONL.read(*put(tmp_path, *rows)))
        assert SECRET not in str(caught.value)

    def test_a_span_inside_a_utf16_character_is_refused(self, tmp_path):
        row = {"text": PILL, "spans": [at(13, 22, "metformin"), at(4, 5)]}
        with pytest.raises(DataError, match=r"a\.jsonl:1: the span 4-5 begins or ends inside"):
            list(JSONL.read(*put(tmp_path, row)))

    def test_a_span_beyond_the_text_in_utf16_is_refused(self, tmp_path):
        row = {"text": PILL, "spans": [at(13, 22, "metformin"), at(26, 99)]}
        with pytest.raises(DataError, match=r"a\.jsonl:1: .* is outside"):
            list(JSONL.read(*put(tmp_path, row)))

    @pytest.mark.parametrize(
        ("start", "end", "shown", "is_noted"),
        [
            (4, 8, "iron", False),
            (3, 8, "iron", True),  # the blank before it, which its text does not have
            (4, 9, "iron", True),
            (4, 8, " iron", True),  # the other way round
            (3, 9, " iron ", True),
            (3, 9, None, True),
        ],
    )
    def test_white_space_at_the_ends_of_a_mention_is_left_out_and_said(
        self, tmp_path, start, end, shown, is_noted
    ):
        row = {"text": "Got iron daily.", "spans": [at(start, end, shown), at(4, 8)]}
        files = put(tmp_path, row)
        [record] = JSONL.read(*files)
        assert record.answer.spans == (Span(4, 8, "DRUG"),)
        note = "white space: left out at the ends of mentions and of the texts that they bring"
        assert reading_notes(JSONL, files) == ((note,) if is_noted else ())

    def test_a_mention_of_white_space_is_refused(self, tmp_path):
        row = {"text": "Got iron daily.", "spans": [at(3, 4)]}
        with pytest.raises(DataError, match=r"a\.jsonl:1: the span 3-4 covers only white space"):
            list(JSONL.read(*put(tmp_path, row)))


class TestBrat:
    def read(self, folder, text, *lines):
        (folder / "n.txt").write_bytes(text.encode())
        (folder / "n.ann").write_text("\n".join(lines), encoding="utf-8")
        files = open_files(folder, "n.ann")
        return words(BRAT.read(*files)), reading_notes(BRAT, files)

    def test_line_ends_that_count_as_one_character_are_read_so(self, tmp_path):
        # with CR LF as one character, "b" is at 2 and "fever" at 4; as two, at 3 and 6
        text = "a\r\nb\r\nfever"
        found, notes = self.read(tmp_path, text, "T1\tX 4 9\tfever", "T2\tX 2 3\tb")
        assert found == [["b", "fever"]]
        assert notes[0].startswith("offsets: count CR LF at a line end as one character;")

    def test_line_ends_that_count_as_two_characters_are_read_without_a_note(self, tmp_path):
        found, notes = self.read(tmp_path, "a\r\nb", "T1\tX 3 4\tb")
        assert (found, notes) == ([["b"]], ())

    def test_utf16_offsets_are_read(self, tmp_path):
        found, notes = self.read(tmp_path, PILL, "T1\tX 13 22\tmetformin")
        assert found == [["metformin"]]
        assert "UTF-16" in notes[0]

    def test_white_space_at_the_ends_of_a_mention_is_said(self, tmp_path):
        found, notes = self.read(tmp_path, "Got iron daily.", "T1\tX 3 8\tiron")
        assert found == [["iron"]]
        assert notes[0].startswith("white space: left out")

    def test_offsets_that_fit_only_in_part_are_refused(self, tmp_path):
        text = "a\r\nb\r\nfever"
        with pytest.raises(DataError, match=r"n\.ann:\d: the text column"):
            self.read(tmp_path, text, "T1\tX 4 9\tfever", "T2\tX 3 4\tb")


PHEE = PheeReader(name="phee")
PUBTATOR = PubtatorReader(name="pubtator", view={"answer": "entities"})
DDI = DdiReader(name="ddi", view={"answer": "entities"})


def phee(drug, effect, shown="Rx \N{PILL} metformin"):
    """Return a line with a drug, which itself has a pill in it, and an effect."""
    text = f"\N{PILL} {shown}, then nausea"
    event = {
        "Effect": {"text": [["nausea"]], "start": [[effect]]},
        "Treatment": {"Drug": {"text": [[shown]], "start": [[drug]]}},
    }
    return json.dumps({"id": "1", "context": text, "annotations": [{"events": [event]}]})


def pubtator(start, end):
    return f"1|t|{PILL}\n1|a|Again.\n1\t{start}\t{end}\tmetformin\tDrug\tC1\n"


def ddi(first, last):
    entity = f'<entity id="e0" charOffset="{first}-{last}" type="drug" text="metformin"/>'
    return f'<document id="d"><sentence id="s" text="{PILL}">\n{entity}</sentence></document>'


class TestOtherReaders:
    """With the pill as one character, metformin is at 12 to 21, in UTF-16 at 13 to 22."""

    def read(self, folder, reader, content):
        (folder / "a.txt").write_bytes(content.encode())
        files = open_files(folder, "a.txt")
        return list(reader.read(*files)), reading_notes(reader, files)

    @pytest.mark.parametrize(
        ("reader", "content"), [(PUBTATOR, pubtator(13, 22)), (DDI, ddi(13, 21))]
    )
    def test_utf16_offsets_are_read_and_named(self, tmp_path, reader, content):
        records, [note] = self.read(tmp_path, reader, content)
        assert words(records) == [["metformin"]]
        assert "count UTF-16 code units, not characters" in note

    @pytest.mark.parametrize(
        ("reader", "content"), [(PUBTATOR, pubtator(12, 21)), (DDI, ddi(12, 20))]
    )
    def test_offsets_in_characters_are_read_without_a_note(self, tmp_path, reader, content):
        records, notes = self.read(tmp_path, reader, content)
        assert (words(records), notes) == ([["metformin"]], ())

    @pytest.mark.parametrize(
        ("reader", "content"),
        [
            (PUBTATOR, pubtator(11, 21).replace("\tmetformin", "\t metformin")),
            (DDI, ddi(11, 20).replace('"metformin"', '" metformin"')),
        ],
    )
    def test_white_space_that_text_and_offsets_have_is_left_out(self, tmp_path, reader, content):
        records, [note] = self.read(tmp_path, reader, content)
        assert words(records) == [["metformin"]]
        assert note.startswith("white space: left out")

    def test_white_space_at_the_ends_of_an_argument_in_phee_is_left_out(self, tmp_path):
        # one pill and a blank, "metformin " with its blank, ", then ": nausea is at 19
        [record], [note] = self.read(tmp_path, PHEE, phee(2, 19, "metformin "))
        [link] = record.answer.relations
        assert record.text[link.head.start : link.head.end] == "metformin"
        assert note.startswith("white space: left out")

    @pytest.mark.parametrize(("starts", "num_notes"), [((2, 23), 0), ((3, 25), 1)])
    def test_starts_in_phee_are_read_in_characters_or_utf16(self, tmp_path, starts, num_notes):
        # of 23 characters before nausea, two are pills
        [record], notes = self.read(tmp_path, PHEE, phee(*starts))
        [link] = record.answer.relations
        assert record.text[link.head.start : link.head.end] == "Rx \N{PILL} metformin"
        assert record.text[link.tail.start : link.tail.end] == "nausea"
        assert len(notes) == num_notes

    @pytest.mark.parametrize(
        ("reader", "content", "says"),
        [
            (PUBTATOR, pubtator(12, 21) + "1\t13\t22\tmetformin\tDrug\tC1\n", "a.txt:4: 13-22"),
            (DDI, ddi(14, 22), "a.txt:1: e0: charOffset does not point"),
            (PHEE, phee(2, 29), "a.txt:1: effect: start 29 does not point"),
        ],
    )
    def test_a_file_that_fits_no_way_to_count_is_refused(self, tmp_path, reader, content, says):
        with pytest.raises(DataError) as caught:
            self.read(tmp_path, reader, content)
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ("a S-X|b B-X|c I-X|d E-X|e E-Y|f O|g B-X|h E-X|i B-X|j O", "BIOES"),
        ("a U-X|b B-X|c I-X|d L-X|e L-Y|f O|g B-X|h L-X|i B-X|j O", "BILOU"),
    ],
)
def test_tags_that_mark_the_last_token_are_converted(tmp_path, lines, scheme):
    (tmp_path / "a.conll").write_text(lines.replace("|", "\n"))
    files = open_files(tmp_path, "a.conll")
    reader = ConllReader(name="conll", separator="blank")
    assert words(reader.read(*files)) == [["a", "b c d", "e", "g h", "i"]]
    [note] = reading_notes(reader, files)
    assert note.startswith(f"tags: {scheme} (")


def test_single_tokens_that_follow_each_other_are_two_mentions(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tS\nb\tS\nc\tE\nd\tI\n")
    reader = ConllReader(name="conll", bare_type="X")
    assert words(reader.read(*open_files(tmp_path, "a.tsv"))) == [["a", "b", "c", "d"]]


def test_a_byte_order_mark_is_no_part_of_the_first_value(tmp_path):
    def opened(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        return open_files(tmp_path, name)

    row = json.dumps({"text": "Iron.", "spans": [at(0, 4, "Iron")]})
    assert words(JSONL.read(*opened("a.jsonl", row))) == [["Iron"]]
    table = TableReader(name="table", row={"fields": {"text": "text"}, "label": "label"})
    [record] = table.read(*opened("a.csv", "text,label\nIron.,x\n"))
    assert (record.fields, record.answer) == ({"text": "Iron."}, LabelAnswer("x"))
    conll = ConllReader(name="conll")
    assert words(conll.read(*opened("a.tsv", "Iron\tB-X\n"))) == [["Iron"]]
    opened("n.txt", "Iron.")
    assert words(BRAT.read(*opened("n.ann", "T1\tX 0 4\tIron"))) == [["Iron"]]
