"""brat's files give mentions at their places, and the links of relations and events."""

import io
import tarfile
import time
from typing import get_args

import pytest
from pydantic import ValidationError

from clinprompt.errors import DataError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.readers import FileReader
from clinprompt.tasks.readers.generic.brat import BratReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.records import LabelAnswer, Relation, RelationsAnswer, Span, SpansAnswer

SECRET = "zebrafishpatient"  # stands for record text: no error may show it
ENTITIES = View(answer="entities")
RELATIONS = View(answer="relations")


def brat(view=ENTITIES, **settings):
    return BratReader(name="brat", view=view, **settings)


def read(folder, text, lines, reader=None, name="note"):
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes("\n".join(lines).encode())
    (file,) = open_files(folder, f"{name}.ann")
    return list((reader or brat()).read(file))


def refusal(folder, text, lines, reader=None):
    with pytest.raises(DataError) as caught:
        read(folder, text, lines, reader)
    message = str(caught.value)
    assert SECRET not in message
    assert message.startswith(str(folder / "note.ann"))
    return message.removeprefix(str(folder / "note.ann"))


def mentions(record):
    return [(record.text[span.start : span.end], span.type) for span in record.answer.spans]


def links(record):
    return [
        (
            link.type,
            record.text[link.head.start : link.head.end],
            record.text[link.tail.start : link.tail.end],
        )
        for link in record.answer.relations
    ]


class TestMentions:
    def test_nested_mentions_are_kept(self, tmp_path):
        lines = ["T1\tDisease 4 17\tbreast cancer", "T2\tPart 4 10\tbreast"]
        (record,) = read(tmp_path, "Had breast cancer.", lines)
        assert record.answer == SpansAnswer((Span(4, 10, "Part"), Span(4, 17, "Disease")))
        assert record.id == "note"

    def test_crlf_counts_as_two_characters(self, tmp_path):
        # "Cough\r\n" is 7 characters long
        (record,) = read(tmp_path, "Cough\r\nfever", ["T1\tSign 7 12\tfever"])
        assert mentions(record) == [("fever", "Sign")]

    def test_line_ends_of_the_annotation_do_not_matter(self, tmp_path):
        lines = ["T1\tSign 0 5\tCough\r", "T2\tSign 6 11\tfever\r", "\r", ""]
        (record,) = read(tmp_path, "Cough fever", lines)
        assert mentions(record) == [("Cough", "Sign"), ("fever", "Sign")]

    def test_line_break_inside_a_mention_is_shown_as_a_blank(self, tmp_path):
        (record,) = read(tmp_path, "acute\r\npain", ["T1\tSign 0 11\tacute  pain"])
        assert mentions(record) == [("acute\r\npain", "Sign")]

    def test_blanks_around_a_mention_are_left_out(self, tmp_path):
        lines = ["T1\tDrug 0 8\taspirin ", "T2\tSign 12 17\tpain"]
        (record,) = read(tmp_path, "aspirin for pain\r\n", lines)
        assert mentions(record) == [("aspirin", "Drug"), ("pain", "Sign")]

    def test_tab_inside_a_mention_is_no_column(self, tmp_path):
        (record,) = read(tmp_path, "8\tmg", ["T1\tDose 0 4\t8\tmg"])
        assert mentions(record) == [("8\tmg", "Dose")]

    def test_mention_in_pieces_spans_from_the_first_to_the_last(self, tmp_path):
        lines = ["T1\tPart 15 18;0 4\tarm left"]
        (record,) = read(tmp_path, "left and right arm", lines)
        assert mentions(record) == [("left and right arm", "Part")]

    def test_pieces_divided_at_a_line_end_are_one(self, tmp_path):
        lines = ["T1\tLiving 6 10;12 22\twith his family"]
        (record,) = read(tmp_path, "Lives with\r\nhis family", lines)
        assert mentions(record) == [("with\r\nhis family", "Living")]

    def test_mention_annotated_twice_is_one(self, tmp_path):
        lines = ["T1\tSign 0 5\tCough", "T2\tSign 0 5\tCough", "T3\tDisease 0 5\tCough"]
        (record,) = read(tmp_path, "Cough", lines)
        assert mentions(record) == [("Cough", "Disease"), ("Cough", "Sign")]

    def test_notes_attributes_and_equivalences_are_ignored(self, tmp_path):
        lines = [
            "T1\tSign 0 5\tCough",
            "*\tOR T1 T1",
            "A1\tPolarity T1 Negative",
            "M2\tSpeculation T1",
            "#1\tAnnotatorNotes T1\tcheck again",
            "N1\tReference T1 UMLS:C0010200\tCoughing",
        ]
        (record,) = read(tmp_path, "Cough", lines)
        assert mentions(record) == [("Cough", "Sign")]

    def test_types_of_the_view_choose_among_mentions(self, tmp_path):
        lines = ["T1\tSign 0 5\tCough", "T2\tRemark 6 9\tand"]
        view = View(answer="entities", types=("Sign",))
        (record,) = read(tmp_path, "Cough and", lines, brat(view))
        assert mentions(record) == [("Cough", "Sign")]

    def test_text_without_annotation_has_no_mentions(self, tmp_path):
        (record,) = read(tmp_path, "Fine.", [""])
        assert record.answer == SpansAnswer(())


class TestCorrections:
    lines = ("T1\tCount 4 6\t24", "T2\tCount 10 12\t24")

    def test_given_offsets_replace_those_of_the_file(self, tmp_path):
        text = "all 124 or 24"
        assert ":1: the text column" in refusal(tmp_path, text, self.lines)
        (record,) = read(
            tmp_path,
            text,
            self.lines,
            brat(corrected={"note:T1": "5 7", "note:T2": "11 13", "other:T9": "1 2"}),
        )
        assert record.answer == SpansAnswer((Span(5, 7, "Count"), Span(11, 13, "Count")))

    def test_correction_of_an_unknown_mention_is_refused(self, tmp_path):
        reader = brat(corrected={"note:T7": "0 3"})
        assert "names T7" in refusal(tmp_path, "all", ["T1\tX 0 3\tall"], reader)

    @pytest.mark.parametrize("offsets", ["90 99", "3-4"])
    def test_correction_must_point_into_the_text(self, tmp_path, offsets):
        reader = brat(corrected={"note:T1": offsets})
        assert "offsets" in refusal(tmp_path, "all", ["T1\tX 0 3\tall"], reader)


class TestLinks:
    text = "Aspirin 81 mg daily, which eased pain"
    lines = (
        "R1\tTreats Arg1:T1 Arg2:E2\t",
        "T1\tDrug 0 7\tAspirin",
        "T2\tDose 8 13\t81 mg",
        "T3\tDose 14 19\tdaily",
        "T4\tRelief 27 32\teased",
        "T5\tSign 33 37\tpain",
        "E1\tDrug:T1 Dose:T2 Dose2:T3",
        "E2\tRelief:T4 Of:T5 By:E1",
        "E3\tSign:T5 ",
    )

    def test_roles_and_relations_link_triggers(self, tmp_path):
        (record,) = read(tmp_path, self.text, self.lines, brat(RELATIONS))
        assert links(record) == [
            ("By", "eased", "Aspirin"),
            ("Dose", "Aspirin", "81 mg"),
            ("Dose", "Aspirin", "daily"),
            ("Of", "eased", "pain"),
            ("Treats", "Aspirin", "eased"),
        ]

    def test_link_types_of_the_view_choose_among_links(self, tmp_path):
        view = View(answer="relations", link_types=("Of",))
        (record,) = read(tmp_path, self.text, self.lines, brat(view))
        assert links(record) == [("Of", "eased", "pain")]

    def test_pairs_of_mentions_take_the_links_as_labels(self, tmp_path):
        view = View(answer="pairs", pairs=(("Drug", "Dose"),), link_types=("Dose",))
        first, second = read(tmp_path, self.text, self.lines[1:7], brat(view))
        assert first.text.startswith("<< Aspirin >> [[ 81 mg ]] daily")
        assert first.answer == second.answer == LabelAnswer("Dose")

    def test_links_of_a_mention_annotated_twice_share_one_mention(self, tmp_path):
        lines = [
            "T1\tDrug 0 1\tA",
            "T2\tDrug 0 1\tA",
            "T3\tDose 2 3\tB",
            "R1\tDose Arg1:T1 Arg2:T3",
            "R2\tDose Arg1:T2 Arg2:T3",
        ]
        (record,) = read(tmp_path, "A B", lines, brat(RELATIONS))
        assert links(record) == [("Dose", "A", "B")]

    def test_value_of_an_argument_is_part_of_the_type_of_its_link(self, tmp_path):
        lines = [
            "T1\tTobacco 0 6\tSmoker",
            "T2\tStatusTime 0 6\tSmoker",
            "T3\tAmount 8 13\t1 ppd",
            "E1\tTobacco:T1 Status:T2 Amount:T3",
            "A1\tStatusTimeVal T2 current",
            "A2\tUncertain T3",
        ]
        reader = brat(RELATIONS, values=("StatusTimeVal",))
        (record,) = read(tmp_path, "Smoker, 1 ppd", lines, reader)
        smoker = Span(0, 6, "Tobacco")
        assert record.answer == RelationsAnswer(
            (
                Relation("Amount", smoker, Span(8, 13, "Amount")),
                Relation("Status:current", smoker, Span(0, 6, "StatusTime")),
            )
        )

    def test_value_of_an_event_is_that_of_its_trigger(self, tmp_path):
        lines = [
            "T1\tA 0 1\ta",
            "T2\tB 2 3\tb",
            "E1\tA:T1 Of:E2",
            "E2\tB:T2",
            "A1\tDegree E2 very high",
        ]
        (record,) = read(tmp_path, "a b", lines, brat(RELATIONS, values=("Degree",)))
        assert links(record) == [("Of:very high", "a", "b")]

    def test_role_may_include_the_type_of_its_event(self, tmp_path):
        reader = brat(RELATIONS, values=("Degree",), event_types=True)
        lines = (*self.lines, "A1\tDegree T5 high")
        (record,) = read(tmp_path, self.text, lines, reader)
        assert links(record) == [
            ("Drug.Dose", "Aspirin", "81 mg"),
            ("Drug.Dose", "Aspirin", "daily"),
            ("Relief.By", "eased", "Aspirin"),
            ("Relief.Of:high", "eased", "pain"),
            ("Treats", "Aspirin", "eased"),
        ]

    @pytest.mark.parametrize("settings", [{"values": ("Degree",)}, {"event_types": True}])
    def test_values_and_types_of_events_need_a_view_with_links(self, settings):
        with pytest.raises(ValidationError, match="values and event_types have no effect"):
            brat(**settings)

    def test_links_to_the_very_same_words_may_be_left_out(self, tmp_path):
        lines = (*self.lines, "T6\tBrand 0 7\tAspirin", "R2\tName Arg1:T1 Arg2:T6")
        (all_links,) = read(tmp_path, self.text, lines, brat(RELATIONS))
        assert ("Name", "Aspirin", "Aspirin") in links(all_links)
        view = View(answer="relations", self_links=False)
        (record,) = read(tmp_path, self.text, lines, brat(view))
        assert set(links(all_links)) - set(links(record)) == {("Name", "Aspirin", "Aspirin")}
        with pytest.raises(ValidationError, match="self_links has no effect"):
            View(answer="entities", self_links=False)


class TestDamage:
    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (SECRET, "not a line of brat"),
            (f"T{SECRET}\tX 0 2\tok", "a T line must read"),
            (f"T2\tX 0 2 {SECRET}", "a T line must read"),
            ("T2\tX 0-2\tok", "offsets must read"),
            ("T2\tX 0 2;2\tok", "offsets must read"),
            ("T2\tX 2 2\t", "must be after its start"),
            (f"T2\tX 0 2\t{SECRET}", "text column"),
            (
                "T2\tX 0 99\tok",
                "the offsets 0-99 lie beyond the text of 19 characters; was the .txt",
            ),
            ("T2\tX 2 3\t ", "covers no words"),
            ("T1\tX 0 2\tok", "T1 appears twice"),
            ("R1\tX Arg1:T1", "an R line must read"),
            (f"R1\tX Arg1:T1 Arg2:{SECRET}", "an argument must read"),
            ("R1\tX Arg1:T1 Arg2:T8", "names T8"),
            ("E1", "an E line must read"),
            (f"E1\t{SECRET}", "an argument must read"),
            ("E1\tX:T1 Of:E7", "names E7"),
            ("A1\tDegree", "an A line must read"),
            ("A1\tDegree T6 high", "names T6"),
            (f"A1\tDegree {SECRET} high", "an A line must read"),
            ("A1\tDegree T1", "Degree has no value"),
            ("A1\tDegree T1 high\nA2\tDegree T1 low", "a second value"),
        ],
    )
    def test_damaged_line_is_named_by_file_and_line(self, tmp_path, line, says):
        reader = brat(RELATIONS, values=("Degree",))
        text = f"ok {SECRET}"
        message = refusal(tmp_path, text, ["T1\tX 0 2\tok", *line.split("\n")], reader)
        assert message.startswith(":3: " if "\n" in line else ":2: ")
        assert says in message

    def test_changed_line_ends_of_the_text_are_noticed(self, tmp_path):
        message = refusal(tmp_path, "Cough\nfever", ["T1\tSign 7 12\tfever"])
        assert "lie beyond the text of 11 characters" in message
        assert "its line ends perhaps" in message
        lines = ["T1\tSign 6 11\tfever", "T2\tSign 14 20\tchills"]
        message = refusal(tmp_path, "Cough\r\nfever, chills", lines)
        assert "not what the offsets 6-11 cover; its line ends are CR LF" in message
        assert "correct its offsets in the .ann file" in message
        assert "corrected" not in message

    def test_missing_text_is_named(self, tmp_path):
        (tmp_path / "note.ann").write_text("")
        (file,) = open_files(tmp_path, "note.ann")
        with pytest.raises(DataError, match=r"note\.txt: cannot be read"):
            list(brat().read(file))

    def test_other_files_are_refused(self, tmp_path):
        (tmp_path / "note.txt").write_text("ok")
        (file,) = open_files(tmp_path, "note.txt")
        with pytest.raises(DataError, match=r"\*\.ann"):
            list(brat().read(file))


class TestFolders:
    def test_archive_pairs_annotation_and_text(self, tmp_path):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in {
                "./set/b.ann": "T1\tX 0 1\tb",
                "./set/b.txt": "b",
                "./set/hi.txt": "stray",
                "./set/a_1.ann": "",
                "./set/a_1.txt": "a",
                "./set/._a_1.ann": "\0junk",
            }.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
        (tmp_path / "notes.tar.gz").write_bytes(stream.getvalue())
        reader = brat(group_before="_")
        files = open_files(tmp_path, "notes.tar.gz!*.ann")
        records = [record for file in files for record in reader.read(file)]
        assert [(one.id, one.group, one.text) for one in records] == [
            ("set/a_1", "set/a", "a"),
            ("set/b", "set/b", "b"),
        ]

    def test_plain_folders_are_read_and_same_names_differ_by_folder(self, tmp_path):
        for folder in ("east", "west"):
            (tmp_path / "notes" / folder).mkdir(parents=True)
            (tmp_path / "notes" / folder / "1.txt").write_text(folder)
            (tmp_path / "notes" / folder / "1.ann").write_text(f"T1\tX 0 4\t{folder}")
        files = open_files(tmp_path, "notes/*/*.ann")
        records = [record for file in files for record in brat().read(file)]
        assert [record.id for record in records] == ["notes/east/1", "notes/west/1"]

    def test_thousands_of_archive_members_are_read_in_seconds(self, tmp_path):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for number in range(2000):
                for name, content in (
                    (f"{number}.ann", b"T1\tX 0 2\tok"),
                    (f"{number}.txt", b"ok"),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        (tmp_path / "notes.tar.gz").write_bytes(stream.getvalue())
        start = time.process_time()
        records = [
            record
            for file in open_files(tmp_path, "notes.tar.gz!*.ann")
            for record in brat().read(file)
        ]
        assert len(records) == 2000
        # one pass takes about 0.2 s; opening the archive for each member would take minutes
        assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "name",
    [
        "ner-pico-corpus",
        "ie-chia",
        "ie-chia-re",
        "ie-maccrobat",
        "ie-pgxcorpus",
        "ie-lct",
        "ie-lct-given",
        "n2c2-2018-ade",
        "n2c2-2018-ade-re",
        "n2c2-2022-sdoh",
    ],
)
def test_cards_of_brat_corpora_show_every_chosen_type(name):
    card = find_card(name)
    assert isinstance(card.reader, BratReader)
    view = card.reader.view
    chosen = view.types if view.answer == "entities" else view.link_types
    assert not chosen or set(chosen) == set(card.labels)
    assert not any(":" in word for word in card.labels.values())


def test_brat_is_among_the_readers_of_cards():
    union = get_args(FileReader)[0]
    assert BratReader in get_args(union)


def test_social_history_card_reads_events_with_values(tmp_path):
    reader = find_card("n2c2-2022-sdoh").reader
    lines = [
        "T1\tEmployment 0 5\tWorks",
        "T2\tStatusEmploy 0 5\tWorks",
        "T3\tType 9 15\tfarmer",
        "E1\tEmployment:T1 Status:T2 Type:T3",
        "A1\tStatusEmployVal T2 employed",
        "T4\tLivingStatus 21 26\tlives",
        "T5\tStatusTime 21 26\tlives",
        "T6\tTypeLiving 27 32\talone",
        "E2\tLivingStatus:T4 Status:T5 Type2:T6",
        "A2\tStatusTimeVal T5 current",
        "A3\tTypeLivingVal T6 alone",
    ]
    (record,) = read(tmp_path, "Works as farmer, and lives alone", lines, reader)
    # the status is that of the very same words: these links stay
    assert links(record) == [
        ("Employment.Status:employed", "Works", "Works"),
        ("Employment.Type", "Works", "farmer"),
        ("LivingStatus.Status:current", "lives", "lives"),
        ("LivingStatus.Type:alone", "lives", "alone"),
    ]


def test_one_mention_may_serve_events_of_several_types(tmp_path):
    reader = find_card("n2c2-2022-sdoh").reader
    lines = [
        "T1\tTobacco 12 19\ttobacco",
        "T2\tDrug 23 28\tdrugs",
        "T3\tStatusTime 0 6\tDenies",
        "E1\tTobacco:T1 Status:T3",
        "E2\tDrug:T2 Status:T3",
        "A1\tStatusTimeVal T3 none",
    ]
    (record,) = read(tmp_path, "Denies use, tobacco or drugs", lines, reader)
    assert links(record) == [
        ("Drug.Status:none", "drugs", "Denies"),
        ("Tobacco.Status:none", "tobacco", "Denies"),
    ]
