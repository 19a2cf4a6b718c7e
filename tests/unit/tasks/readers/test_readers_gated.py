"""Readers of other gated data, on made-up files, and the messages if the files are missing."""

import json
from pathlib import Path

import pytest
from packed import SECRET, pack, read_all, read_splits, refusal

from clinprompt.errors import DataError, SettingError
from clinprompt.tasks.card import catalog, find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import load_task
from clinprompt.tasks.readers.datasets.emrqa import EmrqaReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.records import LabelAnswer, Record, TextAnswer
from clinprompt.tasks.suite import find_suite


class TestEmrqa:
    """Values that may be lists or plain."""

    def write(self, mirror: Path, note: dict[str, object], **top: object) -> Path:
        folder = mirror / "emrqa"
        folder.mkdir(parents=True)
        part = {"title": "medication", "paragraphs": [note], **top}
        (folder / "medication-qa.json").write_text(json.dumps(part))
        return mirror

    def qa(self, **values: object) -> dict[str, object]:
        answer = {"text": "40 mg", "evidence": "Lasix 40 mg\n", "evidence_start": 2}
        answer |= {"answer_start": [2, 1], "answer_entity_type": "single"}
        question = ["What is the dose of Lasix?", "How much Lasix?"]
        return {"id": [["x"], "y"], "question": question, "answers": [answer], **values}

    def test_lists_and_plain_values_give_the_same_records(self, tmp_path):
        lists = {"note_id": "7", "context": ["Seen today .\n", "Lasix 40 mg\n"], "qas": [self.qa()]}
        answer = {
            "text": "40 mg",
            "evidence": ["Lasix 40 mg"],
            "evidence_start": [2],
            "answer_start": [{"start_line": 2, "start_token": 1}],
        }
        question = self.qa(id="u", question="What is the dose of Lasix?", answers=[answer])
        plain = {"note_id": "7", "context": "Seen today .\nLasix 40 mg\n", "qas": [question]}
        first = read_all("emrqa-medication", self.write(tmp_path / "a", lists))
        second = read_all("emrqa-medication", self.write(tmp_path / "b", plain))
        fields = {"question": "What is the dose of Lasix?", "context": "Seen today . Lasix 40 mg"}
        expected = Record("7:1", fields, TextAnswer("Lasix 40 mg"), group="7")
        assert first == second == {"7:1": expected}

    def test_complex_answers_and_those_without_evidence_are_left_out(self, tmp_path):
        whole = {"evidence": ["one", "two"], "answer_entity_type": "complex"}
        answers = [whole, {"evidence": "", "text": ""}]
        kept = self.qa(answers=[*answers, {"evidence": "Lasix 40 mg", "text": "40 mg"}])
        qas = [self.qa(answers=answers), kept, self.qa(answers=[])]
        note = {"note_id": 8, "context": "Lasix 40 mg", "qas": qas}
        found = read_all("emrqa-medication", self.write(tmp_path, note))
        assert {name: record.answer.text for name, record in found.items()} == {
            "8:2": "Lasix 40 mg"
        }

    def test_a_combined_file_is_read_by_title(self, tmp_path):
        note = {"note_id": "7", "context": "Lasix 40 mg", "qas": [self.qa()]}
        other = {**note, "note_id": "8"}
        parts = [
            {"title": "medication", "paragraphs": [note]},
            {"title": "relations", "paragraphs": [other]},
        ]
        path = tmp_path / "data.json"
        path.write_text(json.dumps({"data": parts}))
        (file,) = open_files(tmp_path, "data.json!relations")
        assert [record.group for record in EmrqaReader(name="emrqa").read(file)] == ["8"]
        path.write_text(json.dumps({"data": parts[:1]}))
        with pytest.raises(DataError, match="no part is titled 'relations'"):
            list(EmrqaReader(name="emrqa").read(file))

    def test_a_question_without_words_is_refused(self, tmp_path):
        note = {"note_id": "7", "context": SECRET, "qas": [self.qa(question=[])]}
        message = refusal("emrqa-medication", self.write(tmp_path, note))
        assert "medication-qa.json: 7: no text 'question'" in message


class TestMimicReports:
    """Reports in one archive, splits in a separate table."""

    NAME = "mimic-cxr-impression"
    REPORT = (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n"
        " INDICATION:  Cough.  COMPARISON:  None.\n\n {findings}:\n\n"
        " Heart size is\n normal.\n\n {impression}:\n\n 1. No pneumonia.\n"
        " 2.  Small nodule of 1.5 cm.\n"
    )

    def write(self, mirror: Path, *titles: tuple[str, str], lost: str = "") -> Path:
        reports, rows = {}, ["study_id,subject_id,split"]
        for number, (findings, impression) in enumerate(titles):
            subject = f"1100000{number}"
            name = f"files/p11/p{subject}/s5{number}.txt"
            reports[name] = self.REPORT.format(findings=findings, impression=impression)
            rows.append(f"{'s' if number else ''}5{number},{subject},train")
        reports["files/p12/p12000000/s60.txt"] = self.REPORT.format(
            findings="FINDINGS", impression="IMPRESSION"
        )
        rows += ["60,12000000,dev", *([f"{lost},13000000,train"] if lost else [])]
        folder = mirror / "mimic-cxr-impression"
        pack(folder / "mimic-cxr-reports.zip", reports)
        (folder / "mimic_split_train_dev.csv").write_text("\n".join(rows) + "\n")
        return mirror

    @pytest.mark.parametrize(
        "titles",
        [
            ("FINDINGS", "IMPRESSION"),
            ("FINDINNGS", "IMPRESSON"),
            ("CHEST, TWO VIEWS", "CONCLUSION"),
            ("PA AND LATERAL VIEWS", "FINDINGS AND IMPRESSION"),
        ],
    )
    def test_titles_are_known_however_they_are_written(self, tmp_path, titles):
        (record,) = read_splits(self.NAME, self.write(tmp_path, titles))["train"]
        assert record.fields["text"] == "Heart size is normal."
        assert record.answer == TextAnswer("No pneumonia. Small nodule of 1.5 cm.")
        assert record.fields["background"] == (
            "EXAMINATION: CHEST (PA AND LAT) INDICATION: Cough. COMPARISON: None."
        )
        assert (record.id, record.group) == ("s50", "p11000000")

    def test_splits_come_from_the_table_and_ids_may_begin_with_s(self, tmp_path):
        splits = read_splits(self.NAME, self.write(tmp_path, *[("FINDINGS", "IMPRESSION")] * 2))
        assert [record.id for record in splits["train"]] == ["s50", "s51"]
        assert [record.id for record in splits["validation"]] == ["s60"]

    def test_a_report_without_one_of_the_two_is_left_out(self, tmp_path):
        mirror = self.write(tmp_path, ("FINDINGS", "TECHNIQUE"), ("FINDINGS", "IMPRESSION"))
        assert [record.id for record in read_splits(self.NAME, mirror)["train"]] == ["s51"]

    def test_a_report_that_the_archive_lacks_is_refused(self, tmp_path):
        mirror = self.write(tmp_path, ("FINDINGS", "IMPRESSION"), lost="99")
        with pytest.raises(DataError, match=r"no report files/p13/p13000000/s99\.txt"):
            read_splits(self.NAME, mirror)

    def test_a_table_of_other_columns_is_refused(self, tmp_path):
        mirror = self.write(tmp_path, ("FINDINGS", "IMPRESSION"))
        table = mirror / "mimic-cxr-impression" / "mimic_split_train_dev.csv"
        table.write_text("study,split\n50,train\n")
        with pytest.raises(DataError, match=r"dev\.csv!train:1: the columns must be study_id"):
            read_splits(self.NAME, mirror)


class TestUfRelations:
    """Eight columns and marks in the sentences."""

    HEADER = "\t".join(map(str, range(1, 9)))

    def write(self, mirror: Path, *rows: str) -> Path:
        folder = mirror / "uf-relations"
        folder.mkdir(parents=True)
        for name in ("train", "dev", "test"):
            lines = [self.HEADER, *rows] if name == "train" else [self.HEADER, self.row()]
            text = "\n".join(lines).replace("note1", f"{name}1")
            (folder / f"{name}.tsv").write_text(text + "\n")
        return mirror

    def row(
        self,
        one: str = "Rash from [s1] penicillin [e1] .",
        other: str = "[s2] Rash [e2] from penicillin .",
        label: str = "adverse",
    ) -> str:
        return f"{label}\t{one}\t{other}\tDrug\tADE\tT1\tT2\tnote1"

    def test_one_sentence_is_shown_once_with_both_marks(self, tmp_path):
        (record,) = read_splits("uf-relations", self.write(tmp_path, self.row()))["train"]
        assert record.text == "[[ Rash ]] from << penicillin >> ."
        assert record.answer == LabelAnswer("adverse")
        assert (record.fields["head"], record.fields["tail"]) == ("Drug", "ADE")
        assert (record.id, record.group) == ("train1:2:T1-T2", "train1")

    def test_two_sentences_are_shown_one_after_the_other(self, tmp_path):
        row = self.row(other="She had a [s2] mild rash [e2] .", label="NonRel")
        (record,) = read_splits("uf-relations", self.write(tmp_path, row))["train"]
        assert record.text == "Rash from << penicillin >> . She had a [[ mild rash ]] ."

    def test_mentions_that_overlap_have_both_marks(self, tmp_path):
        row = self.row("[s1] old rash [e1] .", "old [s2] rash [e2] .")
        (record,) = read_splits("uf-relations", self.write(tmp_path, row))["train"]
        assert record.text == "<< old [[ rash >> ]] ."

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            (f"adverse\t{SECRET}", "2 columns separated by tabs; 8 are needed"),
            ("adverse\t" + f"{SECRET}\t" * 6 + "x", r"needs one [s1] and one [e1]"),
            ("adverse\t[s1] [e1]\t[s2] a [e2]\tA\tB\tT1\tT2\tx", "there is no word between"),
        ],
    )
    def test_damaged_rows_are_named_by_file_and_line(self, tmp_path, row, says):
        message = refusal("uf-relations", self.write(tmp_path, row))
        assert "train.tsv:2: " in message
        assert says in message


class TestInference:
    """MedNLI and RadNLI are JSON Lines inside a zip."""

    def pair(self, key: str, number: int, label: str) -> str:
        values = {"gold_label": label, key: f"id{number}", "sentence1": f"He has fever {number} ."}
        return json.dumps({**values, "sentence2": "He is ill .", "sentence1_parse": "(ROOT)"})

    def test_mednli_is_read_out_of_its_archive(self, tmp_path):
        (name,) = find_card("mednli").source.paths
        members = {
            f"{name[:-4]}/mli_{split}_v1.jsonl": self.pair("pairID", number, "neutral") + "\n"
            for number, split in enumerate(("train", "dev", "test"))
        }
        pack(tmp_path / "mednli" / name, members)
        found = read_splits("mednli", tmp_path)
        assert [found[split][0].id for split in SPLITS] == ["id0", "id1", "id2"]
        example = make_example(find_card("mednli"), found["train"][0])
        assert example.target == "neutral"

    def test_radnli_has_no_train_split_and_its_shots_come_from_development_pairs(self, tmp_path):
        (name,) = find_card("radnli").source.paths
        dev = "\n".join(self.pair("pair_id", n, "entailment") for n in range(20))
        test = self.pair("pair_id", 99, "contradiction")
        members = {"x/radnli_dev_v1.jsonl": dev, "x/radnli_test_v1.jsonl": test}
        members["x/radnli_pseudo-train.jsonl"] = "not read"
        pack(tmp_path / "radnli" / name, members)
        found = read_splits("radnli", tmp_path)
        assert [len(found[split]) for split in SPLITS] == [0, 20, 1]
        few = load_task(find_card("radnli-few"), tmp_path).splits
        assert len(few["train"]) + len(few["validation"]) == 20
        assert len(few["validation"]) > 0
        assert few["test"] == found["test"]


GATED = [name for name in catalog() if find_card(name).source.access]


def test_every_gated_card_names_a_page_and_files():
    assert len(GATED) >= 14
    for name in GATED:
        source = find_card(name).source
        assert "https://" in source.access
        assert source.paths


@pytest.mark.parametrize("name", GATED)
def test_a_gated_task_without_its_files_says_what_to_request_where(tmp_path, name):
    card = find_card(name)
    with pytest.raises(SettingError) as unset:
        load_task(card, None)
    with pytest.raises(DataError) as no_folder:
        load_task(card, tmp_path)
    folder = tmp_path / card.data_folder
    folder.mkdir()
    with pytest.raises(DataError) as no_file:
        load_task(card, tmp_path)
    assert str(no_folder.value).startswith(f"{folder}: no such folder, needed for {name}; ")
    files = ", ".join(card.source.paths)
    assert str(no_file.value).startswith(f"{folder}: does not have {files}, needed for {name}; ")
    for error in (unset, no_folder, no_file):
        assert card.source.access in str(error.value)
        assert f"put {files} into {card.data_folder}/ of the mirror" in str(error.value)


@pytest.mark.parametrize(
    ("name", "num_sources", "num_targets"),
    [("open21", 21, 10), ("open34", 34, 10), ("paper", 21, 8)],
)
def test_suites_have_as_many_tasks_of_the_catalog_as_they_state(name, num_sources, num_targets):
    suite = find_suite(name)
    assert suite.name == name
    assert len(set(suite.sources)) == num_sources
    assert len(set(suite.targets)) == num_targets
    assert {*suite.sources, *suite.targets} <= set(catalog())


def test_sources_of_the_smaller_suite_are_in_the_larger_and_targets_are_the_same():
    small, large = find_suite("open21"), find_suite("open34")
    assert set(small.sources) < set(large.sources)
    assert small.targets == large.targets
    paper = find_suite("paper")
    assert paper.sources == small.sources
    assert any("UF Health" in lack for lack in paper.missing)


def test_open_suites_need_no_agreement():
    for name in ("open21", "open34"):
        suite = find_suite(name)
        assert not {*suite.sources, *suite.targets} & set(GATED)


def test_every_gated_card_is_described_where_the_errors_point_to():
    page = (Path(__file__).parents[4] / "docs" / "gated.md").read_text(encoding="utf-8")
    for name in GATED:
        card = find_card(name)
        assert f"clinprompt tasks check {name} --mirror DIR" in page
        assert f"DIR/{card.data_folder}/" in page
        for path in card.source.paths:
            assert path.rstrip("/") in page
