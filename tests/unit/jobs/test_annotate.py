"""Notes are read line by line; an error names the line. Answers are written as JSON or for brat."""

import json
from dataclasses import dataclass, replace

import pytest

from clinprompt.api import Annotator
from clinprompt.errors import DataError, SettingError
from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.annotate import annotate_file, as_json, likely, output_form
from clinprompt.jobs.note_files import read_notes
from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import (
    Answer,
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    Unparseable,
)


@dataclass
class Echo:
    """Stands for an annotator: gives the answers that it was made with."""

    card: TaskCard
    answers: tuple[Answer, ...]

    def annotate(self, records):
        return [
            Prediction(make_example(self.card, record), answer, "", input_was_cut=False)
            for record, answer in zip(records, self.answers, strict=True)
        ]


DRUGS = Echo(
    find_card("practice-ner-drugs"),
    (
        SpansAnswer((Span(6, 10, "drug"),), ungrounded_lines=("drug: zinc", "gold")),
        Unparseable("?"),
    ),
)


def write_notes(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"id": "p/1", "text": "Takes iron."}\n{"text": "Takes none."}\n')
    return notes


def read(tmp_path, content):
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_notes(path))


def test_notes_have_fields_options_and_an_id_or_a_line_number(tmp_path):
    first, second = read(
        tmp_path, '{"id": 7, "text": "a", "options": ["x", "y"]}\n\n{"text": "b\\u2028c"}'
    )
    assert (first.id, first.fields, first.options) == ("7", {"text": "a"}, ("x", "y"))
    assert (second.id, second.text, second.options) == ("3", "b\u2028c", ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no notes"),
        ("\n \n", "holds no notes"),
        (b"\xff", "not UTF-8"),
        ('{"text": "a"}\n{"text"', "notes.jsonl:2: not JSON"),
        ("[1]", "notes.jsonl:1: not an object"),
        ('{"text": 5}', "notes.jsonl:1: has no text field"),
        ('{"text": "a", "options": 5}', "notes.jsonl:1: options"),
        ('{"text": "a", "options": "xyz"}', "notes.jsonl:1: options"),
    ],
)
def test_a_bad_line_is_named(content, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "lines", ['{"id": "2", "text": "a"}\n{"text": "b"}', '{"text": "a"}\n{"id": 1, "text": "b"}']
)
def test_a_note_without_an_id_is_not_mixed_up_with_another(lines, tmp_path):
    with pytest.raises(DataError, match=r"notes.jsonl:2: two notes have the id '[12]'; .* every"):
        read(tmp_path, lines)
    twice = '{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}'
    assert [note.id for note in read(tmp_path, twice)] == ["x", "x"]


def test_unlikely_mentions_are_left_out_if_that_is_asked_for(tmp_path):
    card = find_card("practice-ner-drugs")
    iron, zinc = Span(0, 4, "drug"), Span(5, 9, "drug")
    example = make_example(card, Record("1", {"text": "iron zinc"}))
    answer = SpansAnswer((iron, zinc), ungrounded_lines=("gold",))
    given = Prediction(example, answer, "", input_was_cut=False, probabilities=(0.3, 0.2))
    assert likely(given, 0.0, card) == given
    kept = likely(given, 0.3, card)
    assert kept.answer == SpansAnswer((iron,), ungrounded_lines=("gold",))
    assert kept.probabilities == (0.3,)
    assert likely(given, 0.31, card).answer == SpansAnswer((), ungrounded_lines=("gold",))
    unreadable = replace(given, answer=Unparseable("?"), probabilities=())
    assert likely(unreadable, 0.5, card) == unreadable


@pytest.mark.parametrize(
    ("probability", "name", "words"),
    [(1.5, "practice-ner-drugs", "give a number from"), (0.5, "practice-nli-social", "no effect")],
)
def test_a_limit_without_effect_is_refused(probability, name, words, tmp_path):
    with pytest.raises(SettingError, match=words):
        annotate_file(
            Echo(find_card(name), ()),
            write_notes(tmp_path),
            tmp_path / "out.jsonl",
            min_probability=probability,
        )
    assert not (tmp_path / "out.jsonl").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl: no such file or folder of notes"):
        list(read_notes(tmp_path / "none.jsonl"))


def test_record_text_is_in_no_error(tmp_path):
    with pytest.raises(DataError) as raised:
        read(tmp_path, '{"text": "SECRET" ')
    assert "SECRET" not in str(raised.value)


def test_answers_are_written_for_brat_with_extra_values_in_a_separate_file(tmp_path):
    out = tmp_path / "out"
    assert annotate_file(DRUGS, write_notes(tmp_path), out, form="brat") == 2
    assert {path.name: path.read_text() for path in out.glob("*.*t*")} == {
        "p_1.txt": "Takes iron.",
        "2.txt": "Takes none.",
    }
    assert (out / "p_1.ann").read_text() == "T1\tdrug 6 10\tiron\n"
    assert (out / "2.ann").read_text() == ""
    assert (out / "annotation.conf").read_text() == (
        "[entities]\ndrug\n\n[relations]\n\n[events]\n\n[attributes]\n"
    )
    first, second = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    assert (first["id"], first["file"], first["ungrounded"]) == (
        "p/1",
        "p_1",
        ["drug: zinc", "gold"],
    )
    assert (second["id"], second["file"], second["unparseable"]) == ("2", "2", "?")


def complaint_about(notes, card, tmp_path):
    """Return what is said about a file of notes, on the command line and in Python alike."""
    with pytest.raises(DataError) as written:
        annotate_file(Echo(card, ()), notes, tmp_path / "out.jsonl")
    with pytest.raises(DataError) as returned:
        Annotator(tmp_path, lambda: Echo(card, ())).predict(notes)
    assert str(written.value) == str(returned.value)
    return str(written.value)


def test_a_line_without_a_field_of_the_task_is_named_with_the_fields_that_it_has(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"text": "a"}\n{"id": "b", "note": "c"}')
    said = complaint_about(notes, DRUGS.card, tmp_path)
    assert said.startswith(f"{notes}:2: practice-ner-drugs: record b lacks the field 'text'")
    assert "it has 'note'; rename or add the field" in said


def test_a_text_file_for_a_task_of_two_texts_is_named(tmp_path):
    notes = tmp_path / "note.txt"
    notes.write_text("a")
    said = complaint_about(notes, find_card("practice-nli-social"), tmp_path)
    assert said.startswith(f"{notes}: ")
    assert "'statement' is undefined; it may name either, labels, options, text" in said


def test_no_folder_is_replaced_by_answers(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(SettingError, match="exists; name a new folder"):
        annotate_file(DRUGS, write_notes(tmp_path), out, form="brat")
    assert list(out.iterdir()) == []


def test_nothing_is_left_where_an_answer_cannot_be_written(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"text": "a\\ud800"}\n')
    with pytest.raises(DataError, match=r"notes.jsonl:1: record .1.: .*half a character"):
        annotate_file(Echo(DRUGS.card, (SpansAnswer(()),)), notes, tmp_path / "out", form="brat")
    assert list(tmp_path.iterdir()) == [notes]


def test_labels_are_refused_for_brat_before_anything_is_read(tmp_path):
    labels = Echo(find_card("practice-nli-social"), ())
    with pytest.raises(SettingError, match="its answer is label"):
        annotate_file(labels, tmp_path / "none.jsonl", tmp_path / "out", form="brat")


def test_an_unknown_form_is_named_with_the_known_forms():
    assert output_form("brat") == "brat"
    with pytest.raises(SettingError, match="'brta'; known: jsonl, brat"):
        output_form("brta")


def test_a_byte_order_mark_before_the_first_note_is_skipped(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"text": "Takes iron."}\n', encoding="utf-8-sig")
    [record] = read_notes(notes)
    assert record.text == "Takes iron."


def test_a_text_file_is_one_note_with_its_line_ends_and_without_a_byte_order_mark(tmp_path):
    note = tmp_path / "visit.3.txt"
    note.write_bytes("\ufeffNo pain.\r\nTakes iron.\r\n".encode())
    [record] = read_notes(note)
    assert (record.id, record.text) == ("visit.3", "No pain.\r\nTakes iron.\r\n")


def test_offsets_count_carriage_returns_of_a_text_file(tmp_path):
    note = tmp_path / "visit.txt"
    note.write_bytes(b"No pain.\r\nTakes iron.\r\n")
    drugs = Echo(DRUGS.card, (SpansAnswer((Span(16, 20, "drug"),)),))
    annotate_file(drugs, note, tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["entities"] == [{"start": 16, "end": 20, "type": "drug", "text": "iron"}]


def test_json_shows_the_probability_of_each_mention_link_and_label():
    drug, other = Span(0, 4, "drug"), Span(9, 13, "drug")
    cases = (
        ("practice-ner-drugs", SpansAnswer((drug, other)), (0.25, 0.123456)),
        ("practice-re-dose", RelationsAnswer((Relation("dose", drug, other),)), (0.5,)),
        ("practice-nli-social", LabelAnswer("entailment"), (0.75,)),
    )
    shown = []
    for name, answer, probabilities in cases:
        card = find_card(name)
        record = Record("1", {"text": "Iron and zinc", "statement": "a"})
        example = make_example(card, record)
        shown.append(as_json(card, Prediction(example, answer, "", False, probabilities)))
    spans, links, label = shown
    assert [one["probability"] for one in spans["entities"]] == [0.25, 0.1235]
    assert [one["text"] for one in spans["entities"]] == ["Iron", "zinc"]
    assert [one["probability"] for one in links["relations"]] == [0.5]
    assert (label["label"], label["probability"]) == ("entailment", 0.75)


def test_a_folder_gives_its_text_files_in_order_and_no_others(tmp_path):
    for name in ("b.txt", "a.TXT", ".hidden.txt", "a.ann"):
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.txt").write_text("not read")
    found = [(record.id, record.text) for record in read_notes(tmp_path)]
    assert found == [("a", "text of a.TXT"), ("b", "text of b.txt")]


def test_a_folder_without_text_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.txt files"):
        list(read_notes(tmp_path))


def test_a_text_file_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"latin\.txt: not UTF-8"):
        list(read_notes(tmp_path))


def test_json_lines_may_end_with_carriage_returns(tmp_path):
    first, second = read(tmp_path, '{"text": "a\\r\\nb"}\r\n\r\n{"text": "c"}\r\n')
    assert (first.id, first.text, second.id, second.text) == ("1", "a\r\nb", "3", "c")


def test_python_reads_the_same_files(tmp_path):
    (tmp_path / "visit.txt").write_bytes(b"Takes iron.\r\n")
    annotator = Annotator(tmp_path, lambda: Echo(DRUGS.card, (SpansAnswer(()),)))
    [annotation] = annotator.predict(tmp_path)
    assert (annotation.record.id, annotation.record.text) == ("visit", "Takes iron.\r\n")
