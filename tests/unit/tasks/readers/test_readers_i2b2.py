"""Readers of i2b2's challenges, on made-up notes in the format of each."""

from pathlib import Path

import pytest
from packed import SECRET, mentions, pack, read_all, read_splits, refusal

from clinprompt.tasks.records import LabelAnswer


class TestI2b2Of2010:
    """``.con`` and ``.rel`` in separate archives, joined with the texts by name."""

    TEXT = (
        'The 5 " stent helped angina .\nShe had chest\n\tpain  and fever .\r\nECG showed angina .\n'
    )
    CON = (
        'c="5 " stent" 1:1 1:3||t="treatment"\nc="angina" 1:5 1:5||t="problem"\n'
        'c="chest \tpain" 2:2 3:0||t="problem"\nc="fever" 3:2 3:2||t="problem"\n'
        'c="ecg" 4:0 4:0||t="test"\nc="angina" 4:2 4:2||t="problem"\n'
    )
    REL = (
        'c="angina" 1:5 1:5||r="TrIP"||c="5 " stent" 1:1 1:3\n'
        'c="fever" 3:2 3:2||r="PIP"||c="chest \tpain" 2:2 3:0\n'
    )

    def write(self, mirror: Path, con: str = CON, rel: str = REL, text: str = TEXT) -> Path:
        folder = mirror / "i2b2-2010"
        train = "concept_assertion_relation_training_data"
        pack(
            folder / f"{train}.tar.gz",
            {
                f"{train}/beth/txt/record-1.txt": text,
                f"{train}/beth/unannotated/record-1.txt": "Another text of that name .\n",
                f"{train}/beth/concept/record-1.con": con,
                f"{train}/beth/concept/._record-1.con": "left by macOS",
                f"{train}/beth/rel/record-1.rel": rel,
                f"{train}/beth/ast/record-1.ast": 'c="angina" 1:5 1:5||t="problem"||a="present"\n',
            },
        )
        reference = "reference_standard_for_test_data"
        pack(
            folder / f"{reference}.tar.gz",
            {
                f"{reference}/concepts/0001.con": 'c="cough" 1:0 1:0||t="problem"\n'
                'c="fever" 1:2 1:2||t="problem"\n',
                f"{reference}/rel/0001.rel": "",
            },
        )
        pack(folder / "test_data.tar.gz", {"test_data/0001.txt": "Cough , fever .\n\nFine .\n"})
        return mirror

    def test_each_line_is_a_record_and_quotes_blanks_and_tabs_count_as_the_format_says(
        self, tmp_path
    ):
        found = read_all("i2b2-2010-concepts", self.write(tmp_path))
        assert mentions(found["record-1:1"]) == [('5 " stent', "treatment"), ("angina", "problem")]
        assert mentions(found["record-1:4"]) == [("ECG", "test"), ("angina", "problem")]
        assert {record.group for record in found.values()} == {"record-1", "0001"}

    def test_a_concept_over_two_lines_joins_them(self, tmp_path):
        joined = read_all("i2b2-2010-concepts", self.write(tmp_path))["record-1:2"]
        assert joined.text == "She had chest\n\tpain  and fever ."
        assert mentions(joined) == [("chest\n\tpain", "problem"), ("fever", "problem")]

    def test_texts_of_the_test_notes_are_in_a_separate_archive(self, tmp_path):
        test = read_splits("i2b2-2010-concepts", self.write(tmp_path))["test"]
        assert [(record.id, mentions(record)) for record in test] == [
            ("0001:1", [("Cough", "problem"), ("fever", "problem")]),
            ("0001:3", []),
        ]

    def test_pairs_of_one_line_are_candidates_and_none_without_a_relation(self, tmp_path):
        found = read_all("i2b2-2010-relations", self.write(tmp_path))
        shown = {(r.text, r.answer.label) for r in found.values()}
        assert shown == {
            ('The << 5 " stent >> helped [[ angina ]] .', "TrIP"),  # written the other way round
            ("She had << chest\n\tpain >>  and [[ fever ]] .", "PIP"),  # annotated the other way
            ("<< ECG >> showed [[ angina ]] .", "none"),
            ("<< Cough >> , [[ fever ]] .", "none"),
        }

    def test_a_relation_across_lines_joins_them(self, tmp_path):
        text = "Took aspirin .\nFor angina .\n"
        con = 'c="aspirin" 1:1 1:1||t="treatment"\nc="angina" 2:1 2:1||t="problem"\n'
        rel = 'c="aspirin" 1:1 1:1||r="TrAP"||c="angina" 2:1 2:1\n'
        mirror = self.write(tmp_path, con, rel, text)
        (record,) = read_splits("i2b2-2010-relations", mirror)["train"]
        assert record.text == "Took << aspirin >> .\nFor [[ angina ]] ."
        assert record.answer == LabelAnswer("TrAP")

    @pytest.mark.parametrize(
        ("con", "says"),
        [
            (f"{SECRET}\n", ":1: a field is not name="),
            (f'c="{SECRET}" 1:0||t="problem"\n', ":1: a place needs two ends"),
            (f'c="{SECRET}" 1:0 1:77||t="problem"\n', ":1: 1:77: the text's line has 7 words"),
            (f'c="{SECRET}" 0:0 0:0||t="problem"\n', ":1: 0:0: the text has 5 lines"),
            (f'c="{SECRET}" 1:2 1:1||t="problem"\n', ":1: a mention ends before it begins"),
            (f'c="{SECRET}" 1:0 1:0||a="present"\n', ":1: the line must have the fields c, t"),
            (f'c="{SECRET}" 1:0 1:0||t="problem"\n', "1 of 1 mentions differ from the words"),
        ],
    )
    def test_damaged_concepts_are_named_by_file_and_line(self, tmp_path, con, says):
        message = refusal("i2b2-2010-concepts", self.write(tmp_path, con))
        assert "record-1.con" in message
        assert says in message

    def test_a_relation_of_no_concept_is_named_by_file_and_line(self, tmp_path):
        rel = 'c="angina" 1:5 1:5||r="PIP"||c="helped" 1:4 1:4\n'
        message = refusal("i2b2-2010-relations", self.write(tmp_path, rel=rel))
        assert "record-1.rel:1: a relation names a concept that is not in the .con file" in message

    def test_a_note_without_its_text_is_refused(self, tmp_path):
        self.write(tmp_path)
        pack(tmp_path / "i2b2-2010" / "test_data.tar.gz", {"test_data/0002.txt": "Fine .\n"})
        message = refusal("i2b2-2010-concepts", tmp_path)
        assert "no file is named '0001' in test_data.tar.gz!*.txt" in message


class TestI2b2Of2009:
    """Entries of a medication and its details, and notes named by a number."""

    TEXT = (
        "Discharge medications :\n"
        "Lasix 40 mg\tp.o. monday before\n"
        "dialysis and p.r.n. for edema .\n"
        "Given PCA\n"
    )
    ENTRIES = (
        'm="lasix" 2:0 2:0||do="40 mg" 2:1 2:2||mo="p.o." 2:3 2:3||'
        'f="monday before dialysis...p.r.n." 2:4 3:0,3:2 3:2||| du="nm"||r="edema" 3:4 3:4||'
        'e="start"||t="past"||c="factual"||ln="list"\n'
        'm="lasix" 2:0 2:0||do="nm"||mo="nm"||f="nm"||du="nm"||r="nm"||ln="list"\n'
        'm="pca analgesia" 4:1 4:2||do="nm"||mo="nm"||f="nm"||du="nm"||r="nm"||ln="narrative"\n'
    )

    def write(self, mirror: Path, entries: str = ENTRIES) -> Path:
        folder = mirror / "i2b2-2009"
        texts = {f"train.test.released.8.17.09/{n}": self.TEXT for n in (11995, 11996)}
        pack(folder / "train.test.released.8.17.09.tar.gz", texts)
        pack(
            folder / "training.ground.truth.01.06.11.2009.zip",
            {"training.ground.truth/11995_gold.entries": entries},
        )
        pack(
            folder / "annotations_ground_truth.tar.gz",
            {
                "converted.noduplicates.sorted/11996.m": 'm="lasix" 2:0 2:0||do="nm"||ln="list"\n',
                "other/11996.m": "not the ground truth",
            },
        )
        return mirror

    def test_fields_become_mentions_and_nm_becomes_none(self, tmp_path):
        found = read_all("i2b2-2009-medication", self.write(tmp_path))
        assert mentions(found["11995"]) == [
            ("Lasix", "m"),
            ("40 mg", "do"),
            ("p.o.", "mo"),
            ("monday before\ndialysis and p.r.n.", "f"),  # from the first piece to the last
            ("edema", "r"),
            ("PCA", "m"),  # said to end behind the last word of its line
        ]
        assert mentions(found["11996"]) == [("Lasix", "m")]

    def test_details_are_linked_to_the_medication_of_their_entry(self, tmp_path):
        record = read_all("i2b2-2009-medication-re", self.write(tmp_path))["11995"]
        links = {
            (link.type, record.text[link.head.start : link.head.end], link.tail.start)
            for link in record.answer.relations
        }
        starts = {"do": "40 mg", "mo": "p.o.", "f": "monday", "r": "edema"}
        assert links == {(kind, "Lasix", self.TEXT.index(words)) for kind, words in starts.items()}

    @pytest.mark.parametrize("between", [",", " ", " , "])
    def test_pieces_may_be_joined_by_a_comma_or_a_blank(self, tmp_path, between):
        entries = f'm="lasix...edema" 2:0 2:0{between}3:4 3:4||do="nm"\n'
        record = read_all("i2b2-2009-medication", self.write(tmp_path, entries))["11995"]
        ((words, _),) = mentions(record)
        assert words.startswith("Lasix")
        assert words.endswith("edema")

    @pytest.mark.parametrize(
        ("entry", "says"),
        [
            (f'do="{SECRET}" 2:0 2:0\n', "an entry must have one field m"),
            (f'm="{SECRET}"||do="nm"\n', "a value that is not nm needs its places"),
            ('m="nm"||do="nm"\n', "m must have a value"),
            (f'm="lasix" 2:0 2:0||x="{SECRET}"\n', "one field m and only the fields"),
            (f'm="{SECRET}" 2:7 2:8||do="nm"\n', "2:7: the text's line has 6 words"),
        ],
    )
    def test_damaged_entries_are_named_by_file_and_line(self, tmp_path, entry, says):
        message = refusal("i2b2-2009-medication", self.write(tmp_path, f"\n{entry}"))
        assert "11995_gold.entries:2: " in message
        assert says in message


class TestI2b2Of2012:
    """``.xml`` that is often not XML, with offsets from 1."""

    LINES = ("Admission 02/29/2000", "H&P noted O'Neil&apos;s cough .", "Fine .", "Well .", "")
    TEXT = "\n".join(LINES)

    def tag(self, kind: str, key: str, words: str, more: str, shown: str = "") -> str:
        start = self.TEXT.index(words) + 1  # offsets count from 1
        place = f'start="{start}" end="{start + len(words)}"'
        return f'<{kind} id="{key}" {place} text="{shown or words}" {more} />\n'

    def note(self, *more: str, text: str = TEXT) -> str:
        event = 'modality="FACTUAL" polarity="POS" type='
        tags = (
            self.tag("EVENT", "E0", "Admission", f'{event}"OCCURRENCE"'),
            self.tag("EVENT", "E1", "H&P", f'{event}"EVIDENTIAL"'),
            self.tag("EVENT", "E2", "O'Neil&apos;s cough", f'{event}"PROBLEM"', "O'Neil's cough"),
            self.tag("EVENT", "E3", "Well", f'{event}""'),
            self.tag("TIMEX3", "T0", "02/29/2000", 'type="DATE" val="2000-02-29" mod="NA"'),
            self.tag("SECTIME", "S0", "02/29/2000", 'type="ADMISSION" dvalue="2000-02-29"'),
            *more,
        )
        xml = '<?xml version="1.0" encoding="UTF-8" ?>\n<ClinicalNarrativeTemporalAnnotation>\n'
        return f"{xml}<TEXT><![CDATA[\n{text}]]></TEXT>\n<TAGS>\n{''.join(tags)}</TAGS>\n</Clin>\n"

    def link(self, key: str, head: str, tail: str, kind: str) -> str:
        ends = f'fromID="{head}" fromText="a "b" & <c" toID="{tail}" toText=""'
        return f'<TLINK id="{key}" {ends} type="{kind}" />\n'

    def write(self, mirror: Path, train: str) -> Path:
        folder = mirror / "i2b2-2012"
        release = "2012-07-15.original-annotation.release"
        pack(
            folder / f"{release}.tar.gz",
            {
                f"{release}/1.xml": train,
                f"{release}/1.xml.txt": "the text alone",
                f"{release}/1.xml.extent": 'EVENT="x" 1:0 1:0||type="TEST"',
            },
        )
        test = self.note(self.link("TL0", "E0", "T0", "OVERLAP")).replace("\n", "\r\n")
        pack(
            folder / "2012-08-23.test-data.groundtruth.tar.gz",
            {"ground_truth/merged_xml/2.xml": test, "ground_truth/unmerged/2.xml": "other"},
        )
        return mirror

    def test_offsets_from_one_and_unescaped_signs_are_read(self, tmp_path):
        found = read_all("i2b2-2012-events", self.write(tmp_path, self.note()))
        expected = [
            ("Admission", "OCCURRENCE"),
            ("H&P", "EVIDENTIAL"),
            ("O'Neil&apos;s cough", "PROBLEM"),  # the event without a type is left out
        ]
        assert mentions(found["1"]) == mentions(found["2"]) == expected
        assert found["1"].text == self.TEXT

    def test_a_text_without_cdata_is_read_as_xml_does(self, tmp_path):
        note = self.note().replace("<![CDATA[", "").replace("]]>", "")
        note = note.replace(self.TEXT, self.TEXT.replace("&", "&amp;"))
        found = read_all("i2b2-2012-events", self.write(tmp_path, note))
        assert found["1"].text == self.TEXT

    def test_links_may_share_ids_and_name_a_section_time(self, tmp_path):
        links = (
            self.link("TL1", "E1", "E2", "BEFORE_OVERLAP"),
            self.link("TL1", "E2", "Admission", "After"),
            self.link("SECTIME1", "E0", "S0", "OVERLAP"),
            self.link("SECTIME1", "E0", "S0", "OVERLAP"),
            self.link("SECTIME2", "E3", "Discharge", "BEFORE"),  # the note has no such time
        )
        found = read_splits("i2b2-2012-tlinks", self.write(tmp_path, self.note(*links)))["train"]
        shown = [(record.text, record.answer.label) for record in found]
        first, second = self.LINES[:2]
        assert shown == [
            ("<< H&P >> noted [[ O'Neil&apos;s cough ]] .", "BEFORE"),
            (
                f"{first.replace('02/29/2000', '[[ 02/29/2000 ]]')}\n"
                f"{second.replace('O', '<< O').replace('cough', 'cough >>')}",
                "AFTER",
            ),
            ("<< Admission >> [[ 02/29/2000 ]]", "OVERLAP"),
        ]

    def test_ends_far_apart_are_shown_with_a_gap(self, tmp_path):
        text = "\n".join(["Admission 02/29/2000", *["so on ."] * 9, "H&P then Well done ."])
        note = (
            f"<TEXT><![CDATA[\n{text}]]></TEXT><TAGS>\n"
            f'<EVENT id="E0" start="1" end="10" text="Admission" type="OCCURRENCE" />\n'
            f'<EVENT id="E1" start="{text.index("Well") + 1}" end="{text.index("Well") + 5}" '
            'text="Well" type="OCCURRENCE" />\n'
            '<TLINK id="TL0" fromID="E1" toID="E0" type="AFTER" /></TAGS>'
        )
        found = read_all("i2b2-2012-tlinks", self.write(tmp_path, note))
        assert found["1:1:E1-E0"].text == (
            "[[ Admission ]] 02/29/2000\n...\nH&P then << Well >> done ."
        )

    @pytest.mark.parametrize(
        ("tag", "says"),
        [
            (
                f'<TLINK id="TL0" fromID="E0" toID="{SECRET}" type="AFTER" />\n',
                "an id that no tag has",
            ),
            (
                '<EVENT id="E0" start="1" end="4" text="Adm" type="TEST" />\n',
                "another tag has the same id",
            ),
            ('<EVENT id="E9" start="0" end="4" text="x" type="TEST" />\n', "counted from 1"),
            ('<EVENT id="E9" start="9" end="9999" text="x" type="TEST" />\n', "counted from 1"),
            (f'<EVENT id="E9" start="1" end="4" text="{SECRET}" />\n', "no readable type"),
        ],
    )
    def test_damaged_tags_are_named_by_file_and_line(self, tmp_path, tag, says):
        message = refusal("i2b2-2012-tlinks", self.write(tmp_path, self.note(tag)))
        assert "1.xml:16: " in message
        assert says in message

    def test_offsets_of_another_text_are_refused(self, tmp_path):
        note = self.note(text=f"{SECRET} {self.TEXT}")
        assert "6 of 6 mentions" in refusal("i2b2-2012-events", self.write(tmp_path, note))
