"""A user's own data becomes a task folder that loads; what cannot be guessed is asked for."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from clinprompt.cli import app
from clinprompt.errors import ClinpromptError, DataError, SettingError
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.settings.defaults import SHIPPED
from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.draft.card_text import CardContents, label_names, write_card
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.draft.draft_task import (
    choose_folder,
    draft_task,
    task_name,
    task_type,
    write_task,
)
from clinprompt.tasks.kinds import KINDS, instruction_of, make_example
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import LabelAnswer, Relation, RelationsAnswer, Span, one_line

SECRET = "zebrafishpatient"  # stands for record text: no error may show it


def make(type_, origin, folder, name="", **named):
    """Draft and write a task, and load it the way that every command does."""
    draft = draft_task(type_, origin, name, NamedColumns(**named))
    write_task(draft, folder)
    return draft, load_task(find_card(str(folder)), None)


def refusal(type_, origin, **named):
    with pytest.raises(ClinpromptError) as caught:
        draft_task(type_, origin, "", NamedColumns(**named))
    assert SECRET not in str(caught.value)
    return str(caught.value)


def put(path: Path, *lines) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{line}\n" for line in shown), encoding="utf-8")
    return path


def note(number: int, **more):
    text = f"Note {number}: a stent, later a rash."
    at = text.index("stent")
    spans = [{"start": at, "end": at + 5, "label": "MEDICAL_DEVICE"}]
    return {"id": number, "note": text, "entities": spans, **more}


def pairs(*labels: str) -> list[str]:
    """Return a table of 20 pairs of texts, two to a premise."""
    rows = [f'"first, {i // 2}",second {i},{labels[i % len(labels)]}' for i in range(20)]
    return ["premise,hypothesis,gold_label", *rows]


def num_rows(data):
    return [len(data.splits[split]) for split in SPLITS]


class TestFormats:
    def test_json_lines_with_mentions(self, tmp_path):
        origin = put(tmp_path / "My notes.jsonl", *(note(i) for i in range(20)))
        draft, data = make("ner", origin, tmp_path / "task")
        assert data.card.name == "My-notes"
        assert data.card.labels == {"MEDICAL_DEVICE": "medical device"}
        assert data.card.reader.row.fields == {"text": "note"}
        assert num_rows(data) == [16, 2, 2]
        record = data.splits["train"][0]
        assert record.text[record.answer.spans[0].start :].startswith("stent")
        assert "text: column note" in draft.found
        assert "label MEDICAL_DEVICE: medical device" in draft.found
        first = draft.examples[0]
        assert first.input.endswith("later a rash.\nEntities (medical device):")
        assert first.target == "stent"

    def test_a_table_of_pairs_whose_premises_stay_together(self, tmp_path):
        origin = put(tmp_path / "pairs.csv", *pairs("entails", "neutral"))
        _, data = make("nli", origin, tmp_path / "task")
        assert data.card.labels == {"entails": "entails", "neutral": "neutral"}
        assert data.splits["train"][0].fields.keys() == {"text", "statement"}
        groups = [{record.group for record in data.splits[split]} for split in SPLITS]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 10

    def test_numbers_for_yes_and_no_become_these_words(self, tmp_path):
        rows = pairs("0", "1")
        marked = (row.replace("first", "<< first >> of [[ many ]]") for row in rows)
        draft, data = make(
            "re", put(tmp_path / "pairs.csv", *marked), tmp_path / "task", text=("premise",)
        )
        said = "marked pairs: in 20 of 20 texts, as << mention >> and [[ mention ]]"
        assert said in draft.found
        assert data.card.labels == {"0": "no", "1": "yes"}
        assert (data.card.metric, data.card.positive) == ("positive_f1", ("1",))
        assert data.card.setting == "gold-entities"

    def test_questions_with_options_in_columns_and_loose_quotation_marks(self, tmp_path):
        lines = [f'what "{i}?\ta{i}\tb{i}\tc{i}\tB' for i in range(20)]
        header = "Question\topa\topb\topc\tAnswer"
        _, data = make("qa", put(tmp_path / "exam.tsv", header, *lines), tmp_path / "task")
        assert (data.card.answer, data.card.labels) == ("choice", {})
        options = {record.options for split in SPLITS for record in data.splits[split]}
        assert options == {(f"a{i}", f"b{i}", f"c{i}") for i in range(20)}
        assert data.splits["train"][0].answer == LabelAnswer("B")

    @pytest.mark.parametrize(
        ("answer", "kind"), [(lambda i: ("yes", "no", "maybe")[i % 3], "label"), (str, "text")]
    )
    def test_questions_have_a_closed_or_a_free_answer(self, tmp_path, answer, kind):
        rows = [{"question": f"q{i}", "context": f"c{i}", "answer": answer(i)} for i in range(20)]
        _, data = make("qa", put(tmp_path / "q.jsonl", *rows), tmp_path / "task")
        assert data.card.answer == kind
        assert data.splits["train"][0].fields == {"context": "c0", "question": "q0"}

    def test_dialogues_with_summaries(self, tmp_path):
        rows = [
            {"dialogue": f"d {i}", "summary": f"s {i}", "patient_id": i // 2} for i in range(20)
        ]
        _, data = make("summarization", put(tmp_path / "d.jsonl", *rows), tmp_path / "task")
        assert data.splits["train"][0].answer.text == "s 0"
        assert data.splits["train"][0].group == "0"

    def test_a_folder_of_conll_files_named_after_splits(self, tmp_path):
        lines = ("Took O", "iron B-AdverseEvent", "pills I-AdverseEvent", "", "Fine O")
        for name in ("train.txt", "dev.txt", "set-test.txt"):
            put(tmp_path / "in" / name, *lines)
        put(tmp_path / "in" / "README.txt", "not data")
        draft, data = make("ner", tmp_path / "in", tmp_path / "task")
        assert data.card.reader.separator == "blank"
        assert data.card.resplit is None
        assert num_rows(data) == [2, 2, 2]
        assert data.card.labels == {"AdverseEvent": "adverse event"}
        assert not (tmp_path / "task" / "README.txt").exists()
        assert "test: 2 of 6 records, set-test.txt" in draft.found

    def test_bare_tags_get_a_type(self, tmp_path):
        origin = put(tmp_path / "a.tsv", *(f"iron\tB\n{i}\tI\n\nok\tO\n" for i in range(20)))
        _, data = make("ner", origin, tmp_path / "task")
        assert data.card.labels == {"ENTITY": "entity"}

    @pytest.mark.parametrize("type_", ["ner", "re"])
    def test_a_brat_folder_with_folders_of_splits(self, tmp_path, type_):
        for folder in ("train/ward[1]", "train/icu", "dev", "test"):
            place = tmp_path / "in" / folder
            put(
                place / "n1.ann",
                "T1\tDrug 5 9\tiron",
                "T2\tDose 10 14\t5 mg",
                "R1\tOf Arg1:T2 Arg2:T1",
            )
            put(place / "n1.txt", "Took iron 5 mg.")
        put(tmp_path / "in" / "annotation.conf", "[entities]")
        draft, data = make(type_, tmp_path / "in", tmp_path / "task")
        assert data.card.files.train == ("train/icu/*.ann", "train/ward[[]1]/*.ann")
        assert num_rows(data) == [2, 1, 1]
        drug, dose = Span(5, 9, "Drug"), Span(10, 14, "Dose")
        record = data.splits["train"][0]
        if type_ == "re":
            assert record.answer == RelationsAnswer((Relation("Of", dose, drug),))
            assert data.card.setting == "end-to-end"
        else:
            assert record.answer.spans == (drug, dose)
            assert draft.examples[0].target == "drug: iron\ndose: 5 mg"

    def test_a_flat_brat_folder_is_divided_into_splits(self, tmp_path):
        for number in range(12):
            put(tmp_path / "in" / f"n{number}.ann", "T1\tDrug 0 4\tIron")
            put(tmp_path / "in" / f"n{number}.txt", "Iron.")
        put(tmp_path / "in" / "predictions.jsonl", "{}")  # as `predict --format brat` leaves it
        _, data = make("ner", tmp_path / "in", tmp_path / "task")
        assert data.card.files.train == ("*.ann",)
        assert sum(num_rows(data)) == 12
        assert all(num_rows(data))

    def test_other_brat_annotations_than_plain_mentions_are_reported(self, tmp_path):
        for number in range(12):
            text = f"Low red cell count, {number}.\n"
            put(tmp_path / "in" / f"n{number}.txt", text)
            lines = ["T1\tSign 0 3;13 18\tLow count"] if number == 3 else []
            put(tmp_path / "in" / f"n{number}.ann", "T2\tSign 4 12\tred cell", *lines)
        put(tmp_path / "in" / "n99.txt", SECRET)
        draft, data = make("ner", tmp_path / "in", tmp_path / "task")
        assert sum(num_rows(data)) == 12
        assert not (tmp_path / "task" / "n99.txt").exists()
        found = "\n".join(draft.found)
        assert "repeated:" not in found
        assert "not read:" not in found
        assert "fragments: 1 of 13 mentions have words between their fragments; each is " in found
        assert "left out: 1 of 13 texts, such as n99.txt, because they have no .ann" in found

    def test_repeated_and_unused_brat_annotations_are_reported(self, tmp_path):
        for number in range(12):
            put(tmp_path / "in" / f"n{number}.txt", f"Low red cell count, {number}.")
            lines = ["T1\tSign 0 18\tLow red cell count", "T2\tSign 0 3;13 18\tLow count"]
            more = ["A1\tCertain T1", "M1\tPast T1", f"#1\tAnnotatorNotes T1\t{SECRET}"]
            put(tmp_path / "in" / f"n{number}.ann", *(lines if number < 2 else lines[:1]), *more)
        draft, data = make("ner", tmp_path / "in", tmp_path / "task")
        found = "\n".join(draft.found)
        assert "repeated: 2 of 14 mentions have the type and place of another" in found
        assert "not read: 24 attributes and 12 remarks" in found
        assert all(len(record.answer.spans) == 1 for record in data.splits["train"])

    def test_relations_that_a_task_of_mentions_does_not_read_are_counted(self, tmp_path):
        for number in range(12):
            put(tmp_path / "in" / f"n{number}.txt", f"Low red cell, {number}.")
            lines = ["T1\tSign 0 3\tLow", "T2\tCell 4 12\tred cell", "R1\tof Arg1:T1 Arg2:T2"]
            put(tmp_path / "in" / f"n{number}.ann", *(lines if number else lines[:2]))
        draft, _ = make("ner", tmp_path / "in", tmp_path / "task")
        assert "not read: 11 relations and events, which are for a task of type re" in draft.found
        draft, _ = make("re", tmp_path / "in", tmp_path / "other")
        assert "not read" not in "\n".join(draft.found)

    def test_repeated_mentions_of_json_lines_are_kept_once(self, tmp_path):
        twice = {"entities": 2 * note(3)["entities"]}
        rows = [note(i, **(twice if i == 3 else {})) for i in range(20)]
        draft, data = make("ner", put(tmp_path / "a.jsonl", *rows), tmp_path / "task")
        said = [line for line in draft.found if line.startswith("repeated: 1 of 21 mentions")]
        assert len(said) == 1
        records = [record for split in SPLITS for record in data.splits[split]]
        assert all(len(record.answer.spans) == 1 for record in records)

    def test_texts_without_any_annotation_are_refused(self, tmp_path):
        for number in range(3):
            put(tmp_path / "in" / f"n{number}.txt", SECRET)
        message = refusal("ner", tmp_path / "in")
        assert "in: holds 3 texts (.txt) without annotation; annotate texts in brat" in message


class TestColumns:
    def test_a_column_name_that_appears_twice_is_refused(self, tmp_path):
        lines = [f"t{i},u{i},{'yn'[i % 2]}" for i in range(20)]
        origin = put(tmp_path / "a.csv", "text,text,label", *lines)
        assert "a.csv: columns 1 and 2 have the same name; rename one" in refusal(
            "nli", origin, text=("text",)
        )
        by_number = {"text": ("0",), "label": "2"}
        assert "columns 1 and 2 have the same name; rename one" in refusal(
            "nli", origin, **by_number
        )

    def test_equal_texts_in_a_first_row_that_is_no_header_are_not_shown(self, tmp_path):
        origin = put(tmp_path / "a.csv", *(f"{SECRET},{SECRET},yes" for _ in range(20)))
        refusal("nli", origin)

    @pytest.mark.parametrize(("odd", "count"), [(SECRET, "1 column"), ("a,b,no,c", "4 columns")])
    def test_a_row_of_another_length_is_named_by_its_line(self, tmp_path, odd, count):
        origin = put(tmp_path / "a.csv", *pairs("yes", "no"), odd)
        assert f"a.csv:22: {count}, but most rows have 3" in refusal("nli", origin)

    def test_a_table_of_empty_cells_is_refused(self, tmp_path):
        assert "no table" in refusal("nli", put(tmp_path / "a.csv", ",,", ",,"))

    def test_labels_that_may_be_mistakes_are_named(self, tmp_path):
        origin = put(tmp_path / "a.csv", *pairs("yes", "no", "No"), "other,one,maybe")
        found = draft_task("nli", origin, "", NamedColumns(label="gold_label")).found
        assert any(line.startswith("label maybe: in only one record") for line in found)
        assert any(line.startswith("labels No and no: differ only in case") for line in found)

    @pytest.mark.parametrize("quoted", ["", '"'])
    def test_a_cell_longer_than_tables_allow_is_named(self, tmp_path, quoted):
        long = f"{quoted}{10_000 * SECRET}{quoted}"
        lines = [f"{long if i == 3 else i},{'yn'[i % 2]}" for i in range(20)]
        message = refusal("nli", put(tmp_path / "a.csv", "text,label", *lines), text=("text",))
        assert "a.csv:5: a cell of more than 131,072 characters; close an open quotation" in message

    def test_a_test_split_of_one_record_is_reported(self, tmp_path):
        for name, count in (("train", 9), ("dev", 2), ("test", 1)):
            put(tmp_path / "in" / f"{name}.jsonl", *(note(i) for i in range(count)))
        draft, _ = make("ner", tmp_path / "in", tmp_path / "task")
        assert [line for line in draft.found if line.startswith("test: only one record")]

    def test_a_small_test_split_is_reported_with_the_setting_that_makes_it_larger(self, tmp_path):
        origin = put(tmp_path / "a.jsonl", *(note(i) for i in range(60)))
        draft = draft_task("ner", origin, test_share=0.2)
        write_task(draft, tmp_path / "task")
        num_test = len(draft.data.splits["test"])
        assert num_test in (11, 12, 13)  # 0.2 of 60
        # 0.4 of 60 are 24; a half, without the tenth for validation as well, are 30.
        assert (
            f"test: only {num_test} records, too few to compare scores; set test = 0.4 under "
            "[resplit] in the card for about 24, which leaves about 30 for training" in draft.found
        )
        path = tmp_path / "task" / "card.toml"
        text = path.read_text()
        assert text.count("test = 0.2") == 1
        path.write_text(text.replace("test = 0.2", "test = 0.4"))
        larger = load_task(find_card(str(tmp_path / "task")), None)
        assert 16 <= len(larger.splits["test"]) <= 32
        few = put(tmp_path / "b.jsonl", *(note(i) for i in range(20)))
        assert not [line for line in draft_task("ner", few).found if "too few to compare" in line]

    @pytest.mark.parametrize(
        ("num_records", "share"),
        # 50 records if they are at most three in ten; of 50 or more at least 22 (a tenth more than
        # 20) if they are at most four in ten; with fewer than 30 records a tenth
        [
            (20, 0.1),
            (29, 0.1),
            (30, 0.3),
            (49, 0.3),
            (50, 0.4),
            (60, 0.37),
            (160, 0.3),
            (200, 0.25),
            (600, 0.1),
        ],
    )
    def test_the_test_split_has_a_larger_share_of_few_records(self, tmp_path, num_records, share):
        origin = put(tmp_path / "a.jsonl", *(note(i) for i in range(num_records)))
        made = draft_task("ner", origin).data.card.resplit
        assert (made.validation, made.test) == (0.1, share)

    def test_the_share_of_test_records_can_be_given(self, tmp_path):
        origin = put(tmp_path / "a.jsonl", *(note(i) for i in range(60)))
        draft = draft_task("ner", origin, test_share=0.5)
        num_train, num_validation, num_test = num_rows(draft.data)
        assert draft.data.card.resplit.test == 0.5
        assert 28 <= num_test <= 32  # half of 60
        assert f"train: {num_train} of 60 records, a.jsonl" in draft.found
        assert f"validation: {num_validation} of 60 records, moved out of train" in draft.found
        assert f"test: {num_test} of 60 records, moved out of train" in draft.found
        assert (
            "other numbers of records: give --test-share (in Python: test_share), or change "
            "validation and test under [resplit] in the card" in draft.found
        )

    @pytest.mark.parametrize("share", [0, -0.1, 0.9, 3])
    def test_a_share_that_leaves_nothing_is_refused(self, tmp_path, share):
        origin = put(tmp_path / "a.jsonl", *(note(i) for i in range(60)))
        with pytest.raises(SettingError, match=r"test-share .* is .*; give a number between 0 and"):
            draft_task("ner", origin, test_share=share)

    def test_a_share_without_effect_is_refused(self, tmp_path):
        for name in ("train", "test"):
            put(tmp_path / "in" / f"{name}.jsonl", *(note(i) for i in range(20)))
        with pytest.raises(SettingError, match="has no effect, because the data has files of"):
            draft_task("ner", tmp_path / "in", test_share=0.3)
        [line] = [one for one in draft_task("ner", tmp_path / "in").found if "other numb" in one]
        assert line == "other numbers of records: change validation under [resplit] in the card"

    def test_offsets_that_cut_words_are_reported(self, tmp_path):
        rows = [note(i) for i in range(60)]
        for row in rows:
            row["note"] = "\N{PILL} " + row["note"]
            # The pill takes two UTF-16 code units, so one more than the two characters before.
            moved = {key: row["entities"][0][key] + 3 for key in ("start", "end")}
            row["entities"] = [row["entities"][0] | moved]
        origin = put(tmp_path / "a.jsonl", *rows)
        [line] = [line for line in draft_task("ner", origin).found if "inside a word" in line]
        assert line.startswith("60 of 60 records have")
        assert "UTF-16" in line

    def test_a_column_that_is_named_is_taken(self, tmp_path):
        rows = [{"a": f"long {i}", "b": f"short {i}", "text": "x"} for i in range(9)]
        origin = put(tmp_path / "d.jsonl", *rows)
        _, data = make("summarization", origin, tmp_path / "task", text=("a",), label="b")
        assert data.splits["train"][0].fields == {"text": "long 0"}

    def test_columns_of_a_bare_table_are_named_by_number(self, tmp_path):
        lines = [f"{SECRET} {i};{'yn'[i % 2]}" for i in range(20)]
        origin = put(tmp_path / "bare.csv", *lines)
        assert "look like a row" in refusal("nli", origin)
        _, data = make("nli", origin, tmp_path / "task", text=("0",), label="1")
        assert not data.card.reader.header
        assert data.card.reader.delimiter == "semicolon"
        assert sum(num_rows(data)) == 20

    def test_one_text_alone_is_classified(self, tmp_path):
        origin = put(tmp_path / "pairs.csv", *pairs("a", "b"))
        _, data = make("nli", origin, tmp_path / "task", text=("hypothesis",))
        assert data.splits["train"][0].fields == {"text": "second 0"}

    def test_the_one_text_of_a_classification_is_found_next_to_another(self, tmp_path):
        lines = [f"claim {i},note {i},{'yn'[i % 2]}" for i in range(20)]
        origin = put(tmp_path / "a.csv", "claim,note,label", *lines)
        draft, data = make("classification", origin, tmp_path / "task")
        assert (data.card.type, data.card.answer) == ("nli", "label")
        assert data.splits["train"][0].fields == {"text": "note 0"}
        assert "text: column note" in draft.found
        _, named = make("classification", origin, tmp_path / "other", text=("0",), label="2")
        assert named.splits["train"][0].fields == {"text": "claim 0"}
        message = refusal("classification", origin, text=("claim", "note"))
        assert "type classification takes at most one text" in message
        assert "for the text (text, note, " in refusal(
            "classification", put(tmp_path / "b.csv", "who,what", f"{SECRET},x")
        )

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
    def test_relations_of_texts_without_a_marked_pair_are_refused(self, tmp_path, name):
        labels = [(f"<< {i} >> {SECRET}", "yn"[i % 2]) for i in range(20)]
        lines = {
            "a.csv": ["text,label", *map(",".join, labels)],
            "a.jsonl": [{"text": text, "label": label} for text, label in labels],
        }[name]
        message = refusal("re", put(tmp_path / name, *lines))
        for words in (
            "no text of column text marks a pair of mentions as << mention >> and [[ mention ]]",
            "brat files",
            "--type classification (in Python: kind)",
        ):
            assert words in message

    @pytest.mark.parametrize(
        ("type_", "says"),
        [
            ("summarization", ["for the text", "it has: who, what", "--text COLUMN"]),
            ("nli", ["for the first text", "premise", "--text COLUMN"]),
            ("qa", ["for the question", "--question COLUMN"]),
        ],
    )
    def test_a_column_that_cannot_be_guessed_lists_the_columns(self, tmp_path, type_, says):
        message = refusal(type_, put(tmp_path / "d.csv", "who,what", f"{SECRET},x"))
        assert all(word in message for word in says), message

    @pytest.mark.parametrize(
        ("type_", "named", "says"),
        [
            ("nli", {"label": "premise"}, "no column has a usual name for the first text"),
            ("nli", {"label": "hypothesis", "text": ("premise",)}, "20 different values"),
            (
                "re",
                {"text": ("premise",), "label": "lable"},
                "no column 'lable'; did you mean gold_label?",
            ),
            ("re", {"question": "premise"}, "only qa takes a question"),
            ("re", {"text": ("premise", "hypothesis")}, "takes at most one text"),
            ("ner", {}, "tables cannot hold a task of type ner; give brat or CoNLL or JSON Lines"),
        ],
    )
    def test_an_unsuitable_column_is_refused(self, tmp_path, type_, named, says):
        lines = [line.replace("second", "second" + 40 * "d") for line in pairs("a", "b")]
        assert says in refusal(type_, put(tmp_path / "pairs.csv", *lines), **named)

    def test_mentions_of_another_shape_are_refused(self, tmp_path):
        origin = put(tmp_path / "n.jsonl", *[note(i, entities=[[0, SECRET]]) for i in range(9)])
        message = refusal("ner", origin)
        assert "n.jsonl:1: a span needs whole numbers for start and end" in message
        assert 'each as {"start": 0, "end": 4, "label": "DRUG"} or [0, 4, "DRUG"]' in message

    def test_a_header_is_not_a_record_where_columns_are_named_by_number(self, tmp_path):
        origin = put(tmp_path / "pairs.csv", *pairs("yes", "no"))
        draft, data = make("nli", origin, tmp_path / "task", text=("0", "1"), label="2")
        assert sum(num_rows(data)) == 20
        assert data.card.reader.row.fields == {"text": "premise", "statement": "hypothesis"}
        note = "header: the first row is read as column names (premise, hypothesis, gold_label), no"
        assert any(line.startswith(note) for line in draft.found)

    def test_a_header_may_have_no_name_for_a_column_of_row_numbers(self, tmp_path):
        lines = [f"{i},t {i},{'yn'[i % 2]}" for i in range(20)]
        origin = put(tmp_path / "a.csv", ",text,label", *lines)
        _, data = make("nli", origin, tmp_path / "task", text=("1",), label="2")
        assert sum(num_rows(data)) == 20
        assert set(data.card.labels) == {"y", "n"}

    def test_a_header_of_unusual_names_is_recognized_by_a_label_that_never_recurs(self, tmp_path):
        lines = [f"{SECRET} {i}|{'yn'[i % 2]}" for i in range(20)]
        named = {"text": ("0",), "label": "1"}
        _, data = make("nli", put(tmp_path / "a.csv", "was|wie", *lines), tmp_path / "a", **named)
        assert set(data.card.labels) == {"y", "n"}
        _, data = make("nli", put(tmp_path / "b.csv", "was|y", *lines), tmp_path / "b", **named)
        assert sum(num_rows(data)) == 21, "a first row whose label recurs is a record"

    def test_a_column_of_texts_is_not_taken_for_labels(self, tmp_path):
        named = {"text": ("premise",), "label": "hypothesis"}
        message = refusal("nli", put(tmp_path / "p.csv", *pairs("a", "b")), **named)
        assert "hypothesis holds 20 different values of up to 9 characters in 20 rows" in message
        assert (
            "name the right column with --label COLUMN (in Python: label) (perhaps gold_label)"
            in message
        )

    def test_a_single_text_without_a_pair_gets_advice(self, tmp_path):
        lines = [f"s{i},{'yn'[i % 2]}" for i in range(20)]
        origin = put(
            tmp_path / "p.csv", "my sentence,text,label", *(f"x{i},{lines[i]}" for i in range(20))
        )
        hint = "for one text alone use --type classification (in Python: kind)"
        assert hint in refusal("nli", origin)

    def test_a_split_without_labels_is_named(self, tmp_path):
        for name, label in (("train", "yn"), ("dev", "yn"), ("test", ["", ""])):
            lines = [f"t{i},{label[i % 2]}" for i in range(20)]
            put(tmp_path / "in" / f"{name}.csv", "text,label", *lines)
        message = refusal("nli", tmp_path / "in", text=("text",))
        assert "column label has no value in all 20 rows of test; label them, or remove" in message

    def test_splits_without_mentions_and_blank_texts_are_reported(self, tmp_path):
        for name in ("train", "dev", "test"):
            spans = {"entities": []} if name == "test" else {}
            blank = {"id": 8, "note": " ", "entities": []}
            put(tmp_path / "in" / f"{name}.jsonl", *(note(i, **spans) for i in range(8)), blank)
        draft, data = make("ner", tmp_path / "in", tmp_path / "task")
        assert num_rows(data) == [9, 9, 9]
        assert "train: 1 of 9 records have an empty answer; they are kept" in draft.found
        assert any(line.startswith("test: none of its 9 records has an") for line in draft.found)
        assert any(line.startswith("text: blank in 3 of 27 records, which") for line in draft.found)

    def test_the_form_of_mentions_is_reported(self, tmp_path):
        rows = [{"text": "Took iron.", "label": [[5, 9, "DRUG"]], "n": i} for i in range(20)]
        rows = [{**row, "text": f"{row['text']} {i}"} for i, row in enumerate(rows)]
        draft, data = make("ner", put(tmp_path / "d.jsonl", *rows), tmp_path / "task")
        assert "mentions: column label, as [start, end, label]" in draft.found
        assert data.splits["train"][0].answer.spans == (Span(5, 9, "DRUG"),)

    def test_letters_of_options_may_be_small(self, tmp_path):
        lines = [f"q{i},x,y,{'ab'[i % 2]}" for i in range(20)]
        origin = put(tmp_path / "q.csv", "question,a,b,answer", *lines)
        _, data = make("qa", origin, tmp_path / "task")
        answers = {record.answer for split in SPLITS for record in data.splits[split]}
        assert answers == {LabelAnswer("A"), LabelAnswer("B")}

    def test_options_need_letters(self, tmp_path):
        lines = [f"q{i},x,y,{i % 2}" for i in range(9)]
        assert "must hold the letter" in refusal(
            "qa", put(tmp_path / "q.csv", "question,a,b,answer", *lines)
        )

    def test_an_empty_label_is_refused(self, tmp_path):
        message = refusal("nli", put(tmp_path / "p.csv", *pairs("a", "b", "")))
        assert "gold_label is empty in 6 of 20 rows" in message

    def test_a_single_label_is_refused(self, tmp_path):
        assert "the same label" in refusal("nli", put(tmp_path / "p.csv", *pairs("a")))


class TestFiles:
    def test_the_data_is_not_changed_and_is_copied_completely(self, tmp_path):
        origin = put(tmp_path / "in" / "a.jsonl", *(note(i) for i in range(20)))
        before = origin.read_bytes()
        make("ner", tmp_path / "in", tmp_path / "task")
        assert origin.read_bytes() == before == (tmp_path / "task" / "a.jsonl").read_bytes()
        assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.jsonl"]
        assert sorted(path.name for path in (tmp_path / "task").iterdir()) == [
            "a.jsonl",
            "card.toml",
        ]

    def test_a_copy_has_no_more_permissions_than_the_original(self, tmp_path):
        origin = put(tmp_path / "in" / "ward" / "a.jsonl", *(note(i) for i in range(20)))
        origin.chmod(0o600)
        origin.parent.chmod(0o750)
        (tmp_path / "in").chmod(0o700)
        make("ner", tmp_path / "in", tmp_path / "task")
        for part in ("", "ward", "ward/a.jsonl"):
            copy, own = (tmp_path / top / part for top in ("task", "in"))
            assert copy.stat().st_mode & ~own.stat().st_mode == 0, part

    def test_nothing_is_overwritten(self, tmp_path):
        origin = put(tmp_path / "a.jsonl", *(note(i) for i in range(20)))
        (tmp_path / "task").mkdir()
        draft = draft_task("ner", origin)
        with pytest.raises(SettingError, match="already exists"):
            write_task(draft, tmp_path / "task")
        assert list((tmp_path / "task").iterdir()) == []

    def test_the_folder_of_the_data_is_not_the_folder_of_the_task(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        put(tmp_path / "notes" / "a.jsonl", *(note(i) for i in range(20)))
        assert choose_folder(Path("elsewhere/notes")) == Path("notes")
        assert choose_folder(Path("notes"), name="stents") == Path("stents")
        for origin in (Path("notes"), tmp_path / "notes"):
            assert choose_folder(origin) == Path("notes-task")
        arguments = ["tasks", "new", "--type", "ner", "--from", "notes/"]
        made = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert "task: notes-task (notes is not changed)" in made.output
        assert find_card("notes-task").name == "notes-task"
        with pytest.raises(SettingError, match=r"is inside the data .* such as .*/notes-task"):
            choose_folder(Path("notes"), out=Path("notes/task"))
        monkeypatch.chdir(tmp_path / "notes")
        with pytest.raises(SettingError, match="is inside the data"):
            choose_folder(Path())

    @pytest.mark.parametrize(
        ("name", "type_", "says"),
        [
            ("a.jsonl", "ner", "a.jsonl: holds no records"),
            ("a.csv", "nli", "a.csv: the file is empty"),
            ("a.conll", "ner", "a.conll: holds no records"),
            ("in/test.jsonl", "ner", "test.jsonl: holds no records for test"),
        ],
    )
    def test_an_empty_file_is_said_to_be_empty(self, tmp_path, name, type_, says):
        place = tmp_path / name
        put(place)
        if name.startswith("in/"):
            put(place.with_name("train.jsonl"), *(note(i) for i in range(20)))
            place = place.parent
        assert says in refusal(type_, place)

    @pytest.mark.parametrize(
        ("names", "says"),
        [
            ([], "holds no data file"),
            (["a.md"], "holds no data file"),
            (["a.jsonl", "b.csv"], "jsonl and table; give one format"),
            (["train.jsonl", "more.jsonl"], "more.jsonl, belong to no split"),
            (["dev.jsonl", "test.jsonl"], "no file is named train"),
            (["a!b.jsonl"], "may have '!'"),
        ],
    )
    def test_files_of_different_forms_are_refused(self, tmp_path, names, says):
        for name in names:
            put(tmp_path / "in" / name, note(1))
        (tmp_path / "in").mkdir(exist_ok=True)
        assert says in refusal("qa", tmp_path / "in")

    @pytest.mark.parametrize(
        ("lines", "says"),
        [
            (['{"text"'], "a.jsonl:1: not JSON"),
            (["[1]"], "a.jsonl:1: not a JSON object"),
            ([note(1), {"id": 2, "note": 3.5, "entities": 4}], "must be a list"),
            ([note(1), note(2)], "2 records are too few"),
            ([note(i, entities=[]) for i in range(9)], "holds no spans"),
        ],
    )
    def test_data_that_makes_no_task_is_refused(self, tmp_path, lines, says):
        assert says in refusal("ner", put(tmp_path / "a.jsonl", *lines))

    def test_a_tag_of_another_scheme_is_named_by_its_line(self, tmp_path):
        message = refusal("ner", put(tmp_path / "a.conll", "ok\tO", f"{SECRET}\tQ-X"))
        assert "a.conll:2: " in message
        assert "BIOES" in message

    def test_a_ragged_table_is_refused(self, tmp_path):
        assert "no table" in refusal("nli", put(tmp_path / "a.csv", "a,b", SECRET))

    def test_a_missing_file_or_folder_is_named(self, tmp_path):
        assert "no such file" in refusal("ner", tmp_path / "none")

    @pytest.mark.parametrize(
        ("name", "says"),
        [("qa-pubmedqa", "of the catalog"), ("a/b", "cannot be"), ("été", "cannot be")],
    )
    def test_an_invalid_task_name_is_refused(self, tmp_path, name, says):
        with pytest.raises(SettingError, match=says):
            task_name(tmp_path, name)

    def test_files_without_a_pair_are_refused(self, tmp_path):
        put(tmp_path / "in" / "n1.ann", "T1\tDrug 0 4\tIron")
        with pytest.raises(DataError, match=r"n1\.txt: cannot be read"):
            draft_task("ner", tmp_path / "in")


class TestCard:
    def test_words_are_made_from_labels(self):
        assert label_names(["ADVERSE_EVENT", "AdverseEvent", "drug-name", "+", "SSI"]) == {
            "ADVERSE_EVENT": "adverse event",
            "AdverseEvent": "adverse event (2)",
            "drug-name": "drug name",
            "+": "label 4",
            "SSI": "ssi",
        }
        assert label_names(["False", "True"]) == {"False": "no", "True": "yes"}
        assert label_names(["0", "1", "2"]) == {"0": "0", "1": "1", "2": "2"}

    def test_metrics_are_those_that_a_card_takes(self):
        for (type_, answer), kind in KINDS.items():
            for metric in kind.metric_names:
                labels = ("yes", "no") if kind.has_labels else ()
                sketched = replace(sketch(answer, labels), type=type_)
                values = tomllib.loads(write_card(sketched))
                positive = ["yes"] if metric == "positive_f1" else []
                TaskCard.model_validate({**values, "metric": metric, "positive": positive})

    @given(
        st.sampled_from(["spans", "relations", "label", "choice", "text"]),
        st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True),
        st.text(st.characters(codec="utf-8"), min_size=1),
    )
    def test_every_card_is_toml_with_the_given_values(self, answer, labels, column):
        sketched = sketch(answer, tuple(labels), column)
        if answer in ("choice", "text"):
            sketched = replace(sketched, labels=())
        card = TaskCard.model_validate(tomllib.loads(write_card(sketched)))
        assert (card.name, card.answer) == ("made", answer)
        assert tuple(card.labels) == sketched.labels
        assert card.reader.row.fields == {"text": column}
        assert card.files.train == (column,)

    def test_a_label_word_corrected_in_the_card_is_corrected_in_the_wording(self, tmp_path):
        origin = put(tmp_path / "pairs.csv", *pairs("ok", "bad", "odd"))
        make("nli", origin, tmp_path / "task")
        path = tmp_path / "task" / "card.toml"
        path.write_text(path.read_text().replace('odd = "odd"', 'odd = "open"'))
        data = load_task(find_card(str(tmp_path / "task")), None)
        example = make_example(data.card, data.splits["train"][0])
        assert example.instruction == "Read the text. Write only bad, open or ok."
        assert example.input.startswith("first, ")
        assert example.input.endswith("\nbad, open or ok:")

    def test_the_commands_new_and_show(self, tmp_path):
        origin = put(tmp_path / "a[b].jsonl", *(note(i) for i in range(20)))
        out = str(tmp_path / "my-task")
        arguments = ["tasks", "new", "--type", "ner", "--from", str(origin), "--out", out]
        made = CliRunner().invoke(app, [*arguments, "--name", "stents"], catch_exceptions=False)
        assert made.exit_code == 0, made.output
        assert made.output.count("Entities (medical device):\n  stent\n") == 3
        assert "train: 16 of 20 records, a[b].jsonl" in made.output
        shown = CliRunner().invoke(app, ["tasks", "show", out], catch_exceptions=False)
        assert shown.exit_code == 0, shown.output
        assert "stents" in shown.output

    def test_comments_of_a_card_leave_room_for_a_title_and_explain_the_seed(self, tmp_path):
        origin = put(tmp_path / "a.jsonl", *map(note, range(20)))
        lines = draft_task("ner", origin, "stents").card_text.splitlines()
        assert 'title = "stents"' in lines
        assert "[labels]" in lines
        assert "[resplit]" in lines
        [seed] = [line for line in lines if line.startswith("seed = ")]
        assert "# decides which groups are moved; chosen because" in seed

    def test_card_and_show_say_whether_the_model_reads_the_instruction(self, tmp_path):
        """The sentences hold as long as the shipped metaprompt has input form 1."""
        assert find_metaprompt(SHIPPED).manifest.input_form == 1
        draft, _ = make("ner", put(tmp_path / "a.jsonl", *map(note, range(20))), tmp_path / "task")
        comment, _ = draft.card_text.split("\ninstruction = ")
        said = " ".join(line.removeprefix("# ") for line in comment.splitlines()[-2:])
        assert "The model does not read it with the metaprompt in the package" in said
        shown = CliRunner().invoke(app, ["tasks", "show", str(tmp_path / "task")])
        assert "instruction (not read with the metaprompt in the package): Write" in shown.output

    def test_an_unknown_type_is_named_with_the_known_types(self, tmp_path):
        arguments = ["tasks", "new", "--type", "ners", "--from", str(tmp_path)]
        with pytest.raises(SettingError, match="'ners'; known: ner, re"):
            CliRunner().invoke(app, arguments, catch_exceptions=False)


def sketch(answer, labels, column="text"):
    types = {"spans": "ner", "relations": "re", "label": "nli", "choice": "qa"}
    row = {"fields": {"text": column}}
    return CardContents(
        name="made",
        type=types.get(answer, "summarization"),
        answer=answer,
        reader={"name": "jsonl", "row": row},
        fields=("text",),
        files={"train": (column,)},
        labels=labels,
    )


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("text,label,id\nfoo,x,1\n", r"test\.csv.*has 3 columns, but train\.csv has 2"),
        ("label,text\nx,some words\n", r"test\.csv.*first row is not that of train\.csv"),
    ],
)
def test_files_of_other_columns_are_named(tmp_path, second, message):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\nfoo bar,x\nbaz q,y\nfoo,x\nbaz,y\n")
    (folder / "test.csv").write_text(second)
    with pytest.raises(DataError, match=message):
        draft_task("nli", folder, "mine")


def test_a_quotation_mark_at_the_start_of_a_cell_does_not_join_rows(tmp_path):
    """Read with quotes, everything from the first mark to the second one is a single cell."""
    notes = [f"note {number} is made up" for number in range(20)]
    notes[3], notes[7] = '"Feels sick today', 'says he is well"'
    lines = [f"{note}\t{'yes' if number % 2 else 'no'}" for number, note in enumerate(notes)]
    (tmp_path / "own.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    draft = draft_task("nli", tmp_path / "own.tsv", "mine", NamedColumns(text=("text",)))
    assert sum(map(len, draft.data.splits.values())) == 20


def test_a_tsv_is_divided_at_tabs_even_if_every_row_has_one_comma(tmp_path):
    lines = [f"note {n} has pain, acute\t{'yes' if n % 2 else 'no'}" for n in range(20)]
    (tmp_path / "own.tsv").write_text("\n".join(lines) + "\n")
    named = NamedColumns(text=("0",), label="1")
    draft = draft_task("nli", tmp_path / "own.tsv", "mine", named)
    assert set(draft.data.card.labels) == {"yes", "no"}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("text-classification", "use classification"),
        ("entailment", r"nli with two --text \(in Python: text=\[FIRST, SECOND\]\)"),
        ("NER", "known: ner"),
        ("relations", "use re"),
    ],
)
def test_an_unknown_task_type_is_answered_with_the_one_to_use(word, hint):
    with pytest.raises(SettingError, match=hint):
        task_type(word)


class TestEqualTexts:
    """Forty records of ten texts, so that chance would spread some over several splits."""

    def table(self, folder):
        texts = [f"Note {i % 10}" for i in range(40)] + [f"Other {i}" for i in range(20)]
        rows = ({"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts))
        return put(folder / "a.jsonl", *rows)

    def test_records_of_one_text_are_in_one_split(self, tmp_path):
        draft, data = make("nli", self.table(tmp_path), tmp_path / "task", text=("text",))
        texts = [{record.text for record in data.splits[split]} for split in SPLITS]
        assert sum(map(len, texts)) == len(set.union(*texts)) == 30
        assert all(texts)
        assert (
            "equal texts: 40 of 60 records have the text of another; records of one text are in "
            "one split" in draft.found
        )

    def test_texts_that_the_users_own_files_share_are_counted(self, tmp_path):
        rows = [{"text": f"Note {i}", "label": "ab"[i % 2]} for i in range(20)]
        put(tmp_path / "in" / "train.jsonl", *rows)
        put(tmp_path / "in" / "dev.jsonl", *rows[:2], *rows[:1])
        put(tmp_path / "in" / "test.jsonl", {"text": "New", "label": "a"}, rows[4], rows[5])
        draft, _ = make("nli", tmp_path / "in", tmp_path / "task", text=("text",))
        # texts 0 (three times), 1, 4 and 5 (twice each)
        assert (
            "equal texts: 9 of 26 records have the text of another, 9 of them in more than one "
            "split; training leaves out records with the text of a test record" in draft.found
        )

    def test_nothing_is_said_if_all_texts_differ(self, tmp_path):
        origin = put(tmp_path / "notes.jsonl", *(note(i) for i in range(20)))
        assert not [line for line in draft_task("ner", origin).found if "equal" in line]


@pytest.mark.parametrize(("type_", "answer"), KINDS)
@pytest.mark.parametrize("labels", [("A",), ("A", "B_c")])
def test_a_drafted_card_says_its_instruction_in_three_ways(type_, answer, labels):
    contents = CardContents(
        name="t",
        type=type_,
        answer=answer,
        reader={"name": "jsonl"},
        fields=("text",),
        files={"train": ("a",)},
        labels=labels if KINDS[type_, answer].has_labels else (),
    )
    wording = tomllib.loads(write_card(contents))["wording"]
    ways = [one_line(way) for way in (wording["instruction"], *wording["paraphrases"])]
    assert len(set(ways)) == 3
    if answer == "spans":
        assert [("`type: mention`" in way) for way in ways] == [len(labels) == 2] * 3
        assert all("none" in way for way in ways)


def test_paraphrases_of_a_drafted_card_use_the_words_of_its_labels(tmp_path):
    origin = put(tmp_path / "pairs.csv", *pairs("0", "1"))
    _, data = make("nli", origin, tmp_path / "task", text=("premise",))
    assert [instruction_of(data.card, number) for number in range(3)] == [
        "Read the text. Write only no or yes.",
        "Which of these fits the text: no, yes? Write only that.",
        "Read the text and decide: no or yes? Write your decision, nothing else.",
    ]
