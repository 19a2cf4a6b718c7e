"""The Python API refuses wrong arguments before it loads, trains or replaces anything."""

import pytest

import clinprompt
from clinprompt.api import Annotator


def unloadable():
    raise AssertionError("loaded too early")


@pytest.fixture
def annotator(tmp_path):
    return Annotator(tmp_path / "prompt", unloadable)


def test_a_prompt_is_not_saved_over_a_folder_of_something_else(annotator, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "cells.jsonl").write_text("{}\n")
    with pytest.raises(clinprompt.ArtifactError, match="not a saved prompt; choose a new folder"):
        annotator.save(run)
    assert (run / "cells.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("notes", [None, 3, b"note", {"text": "secret"}, {"a note"}])
def test_notes_of_another_type_are_refused(annotator, notes):
    with pytest.raises(clinprompt.DataError, match=f"got {type(notes).__name__}") as refused:
        annotator.predict(notes)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("note", [None, 3, {"text": "secret"}])
def test_one_note_of_another_type_is_refused_by_its_number(annotator, note):
    with pytest.raises(
        clinprompt.DataError, match=f"note 2 is of type {type(note).__name__}"
    ) as refused:
        annotator.predict(["a note", note])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("number", [0, -1, 2.5, "all"])
def test_numbers_of_rows_are_whole_and_positive(annotator, number, tmp_path):
    with pytest.raises(clinprompt.SettingError, match="num_rows"):
        annotator.evaluate(num_rows=number)
    with pytest.raises(clinprompt.SettingError, match="shots"):
        clinprompt.adapt("practice-ner-drugs", shots=number or -2, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("values", [{"fields": {"text": None}}, {"fields": {}, "options": (3,)}])
def test_records_of_other_values_than_texts_are_refused(values):
    with pytest.raises(clinprompt.DataError, match=r"record '1'.* is of type (NoneType|int)"):
        clinprompt.Record("1", **values)


def test_an_answer_that_is_no_text_is_refused():
    with pytest.raises(clinprompt.DataError, match="of type NoneType"):
        clinprompt.Record("1", {"text": "a"}, clinprompt.TextAnswer(None))


def test_an_unknown_device_is_refused(tmp_path):
    with pytest.raises(clinprompt.SettingError, match=r"device: .*bogus"):
        clinprompt.adapt(
            "practice-ner-drugs", folder=tmp_path / "run", settings={"device": "bogus"}
        )


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_rates_are_finite(value, tmp_path):
    with pytest.raises(clinprompt.SettingError, match=r"adapt\.factor_rate"):
        clinprompt.adapt(
            "practice-ner-drugs", folder=tmp_path / "run", settings={"adapt.factor_rate": value}
        )


def test_an_empty_name_of_a_task_is_called_empty():
    with pytest.raises(clinprompt.SettingError, match="the name of the task is empty"):
        clinprompt.load_task("")


TABLE = "who,note,claim,verdict\n" + "".join(f"p{i},n {i},c {i},{'ab'[i % 2]}\n" for i in range(30))


@pytest.mark.parametrize(
    ("kind", "named", "words"),
    [
        (
            "nli",
            {"label": "verdict", "text": ("note",), "folder": "."},
            "--out (in Python: folder)",
        ),
        ("nli", {"label": "verdict", "name": "!"}, "--name (in Python: name)"),
        ("nli", {"label": "verdict", "name": "nli-mqp"}, "--name (in Python: name)"),
        (
            "nli",
            {"text": ("note", "claim")},
            "name it with --label COLUMN (in Python: label)",
        ),
        ("qa", {}, "--question COLUMN (in Python: question)"),
        ("re", {"text": ("note", "claim")}, "type re takes at most one text, and only qa takes a"),
        ("entailment", {}, "use nli with two --text (in Python: text=[FIRST, SECOND])"),
    ],
)
def test_a_task_that_cannot_be_made_names_the_argument_of_python(tmp_path, kind, named, words):
    data = tmp_path / "pairs.csv"
    data.write_text(TABLE.replace("verdict", "opinion" if "label" not in named else "verdict"))
    with pytest.raises(clinprompt.ClinpromptError) as refused:
        clinprompt.new_task(data, kind, **{"folder": tmp_path / "made", **named})
    assert words in str(refused.value)
    assert not (tmp_path / "made").exists()


def test_one_column_may_be_given_as_a_text(tmp_path):
    data = tmp_path / "notes.csv"
    data.write_text(TABLE)
    for kind in ("nli", "classification"):
        folder = clinprompt.new_task(
            data, kind, text="note", label="verdict", folder=tmp_path / kind
        )
        card = clinprompt.load_task(folder).card
        assert (card.type, card.reader.row.fields) == ("nli", {"text": "note"})


def test_a_folder_of_something_else_is_refused_with_the_argument_of_python(tmp_path):
    (tmp_path / "other").write_text("not a run")
    with pytest.raises(
        clinprompt.RunError, match=r"not a run; choose another --out \(in Python: f"
    ):
        clinprompt.adapt("practice-ner-drugs", folder=tmp_path)
