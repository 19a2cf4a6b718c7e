"""Exports of Label Studio become tasks: spans, relations and single choices."""

import json

import pytest
from typer.testing import CliRunner

from clinprompt.cli import app
from clinprompt.errors import ClinpromptError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.draft.draft_task import draft_task, write_task
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import LabelAnswer, Relation, Span

SECRET = "zebrafishpatient"
PILL = "Rx \N{PILL} iron for rash"  # in UTF-16 iron is at 6 and rash at 15


def span(name, start, end, text, *labels, control="label"):
    value = {"start": start, "end": end, "text": text, "labels": list(labels)}
    return {"id": name, "from_name": control, "to_name": "text", "type": "labels", "value": value}


def choice(word, control="mood"):
    value = {"choices": [word]}
    return {"from_name": control, "to_name": "text", "type": "choices", "value": value}


def link(head, tail, *labels, direction="right"):
    ends = {"from_id": head, "to_id": tail}
    return {**ends, "type": "relation", "direction": direction, "labels": list(labels)}


IRON, RASH = span("i", 6, 10, "iron", "DRUG"), span("r", 15, 19, "rash", "SIGN")


def annotated(number, *results, **more):
    annotations = [{"id": number, "was_cancelled": False, "result": list(results)}]
    data = {"text": f"{PILL}, {number}", "ward": "w"}
    return {"id": number, "data": data, "annotations": annotations, **more}


def make(folder, type_, tasks, **named):
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    draft = draft_task(type_, folder / "export.json", "", NamedColumns(**named))
    write_task(draft, folder / "task")
    data = load_task(find_card(str(folder / "task")), None)
    return draft, data, [record for split in SPLITS for record in data.splits[split]]


@pytest.mark.parametrize("names", [(None, None), ("same", "same")])
def test_results_without_ids_of_their_own_are_all_read(tmp_path, names):
    """One with the id of another, and the same label, is a mention of its own."""
    results = [dict(IRON, id=names[0]), dict(span("r", 15, 19, "rash", "DRUG"), id=names[1])]
    _, _, records = make(tmp_path, "ner", [annotated(i, *results) for i in range(20)])
    assert records[0].answer.spans == (Span(5, 9, "DRUG"), Span(14, 18, "DRUG"))


def test_spans_are_read_in_the_utf16_offsets_of_the_tool(tmp_path):
    draft, data, records = make(tmp_path, "ner", [annotated(i, RASH, IRON) for i in range(20)])
    assert len(records) == 20
    assert records[0].text == f"{PILL}, 0"
    assert records[0].answer.spans == (Span(5, 9, "DRUG"), Span(14, 18, "SIGN"))
    assert (data.card.reader.name, data.card.metric) == ("label_studio", "entity_f1")
    assert data.card.labels == {"DRUG": "drug", "SIGN": "sign"}
    assert any(line.startswith("offsets: count UTF-16") for line in draft.found)


def test_white_space_at_the_ends_of_a_span_is_left_out_and_said(tmp_path):
    wide = [annotated(i, span("i", 5, 11, "iron", "DRUG"), RASH) for i in range(20)]
    draft, _, records = make(tmp_path, "ner", wide)
    assert records[0].answer.spans == (Span(5, 9, "DRUG"), Span(14, 18, "SIGN"))
    [line] = [line for line in draft.found if line.startswith("white space:")]
    assert line == "white space: left out at the ends of mentions and of the texts that they bring"


@pytest.mark.parametrize(
    ("direction", "head", "tail"), [("right", 5, 14), ("left", 14, 5), ("bi", 5, 14)]
)
def test_relations_become_links(tmp_path, direction, head, tail):
    tied = link("i", "r", "treats", direction=direction)
    _, data, records = make(tmp_path, "re", [annotated(i, IRON, RASH, tied) for i in range(20)])
    [found] = records[0].answer.relations
    ends = {5: Span(5, 9, "DRUG"), 14: Span(14, 18, "SIGN")}
    assert found == Relation("treats", ends[head], ends[tail])
    assert (data.card.answer, data.card.setting) == ("relations", "end-to-end")


def test_single_choices_become_labels(tmp_path):
    tasks = [annotated(i, choice("good" if i % 2 else "bad"), IRON) for i in range(20)]
    tasks.append(annotated(20, IRON))
    draft, data, records = make(tmp_path, "nli", tasks)
    assert data.card.answer == "label"
    assert data.card.reader.row.fields == {"text": "text"}
    assert {record.id: record.answer for record in records}["3"] == LabelAnswer("good")
    assert len(records) == 20
    assert "left out: 1 annotated task has no value for mood" in draft.found


def test_the_first_annotation_that_is_not_cancelled_counts(tmp_path):
    tasks = [annotated(i, IRON) for i in range(20)]
    cancelled = {"was_cancelled": True, "result": [RASH]}
    tasks[3]["annotations"] = [cancelled, {"result": [IRON]}, {"result": [RASH]}]
    tasks[4]["annotations"] = [cancelled]
    draft, _, records = make(tmp_path, "ner", tasks)
    assert [one.answer.spans[0].type for one in records if one.id == "3"] == ["DRUG"]
    assert "4" not in {record.id for record in records}
    found = "\n".join(draft.found)
    assert "several annotations: 1 task has more than one" in found
    assert "left out: 1 task has no annotation, or a cancelled one" in found


def minimal(number, **more):
    plain = {"start": 6, "end": 10, "text": "iron", "labels": ["DRUG"]}
    meta = {"annotator": 1, "annotation_id": number, "created_at": "now", "lead_time": 1.5}
    text = f"{PILL}, {number}"
    return {"id": number, "text": text, "label": [plain], "mood": "good", **meta, **more}


def test_spans_of_json_min_are_read(tmp_path):
    _, _, records = make(tmp_path, "ner", [minimal(i) for i in range(20)])
    assert records[0].answer.spans == (Span(5, 9, "DRUG"),)


def test_choices_of_json_min_are_read(tmp_path):
    tasks = [minimal(i, mood="good" if i % 2 else "bad") for i in range(20)]
    _, _, records = make(tmp_path, "nli", tasks, label="mood")
    assert {record.id: record.answer for record in records}["3"] == LabelAnswer("good")


@pytest.mark.parametrize(
    ("type_", "metric"), [("nli", "accuracy"), ("classification", "accuracy"), ("re", "macro_f1")]
)
def test_plain_choices_of_json_min_are_found_if_only_one_column_can_be_them(
    tmp_path, type_, metric
):
    tasks = [minimal(i, mood="good" if i % 2 else "bad", ward="w") for i in range(20)]
    for task in tasks:
        del task["label"]
        task["text"] = f"<< iron >> for [[ rash ]], {task['id']}"
    del tasks[7]["mood"]
    draft, data, records = make(tmp_path, type_, tasks)
    assert {record.id: record.answer for record in records}["3"] == LabelAnswer("good")
    assert (len(records), data.card.metric) == (19, metric)
    assert data.card.reader.row.fields == {"text": "text"}
    assert "label: column mood" in draft.found


def test_a_column_with_a_usual_name_comes_before_others_with_few_values(tmp_path):
    tasks = [minimal(i, label=("x", "y")[i % 2], mood=("a", "b")[i % 3 == 0]) for i in range(20)]
    draft, _, _ = make(tmp_path, "nli", tasks)
    assert "label: column label" in draft.found


@pytest.mark.parametrize(
    ("type_", "more", "says"),
    [
        ("nli", {"ward": True}, "no column has a usual name for the label"),
        ("re", {"label": True}, "no relations and no choices"),
    ],
)
def test_plain_choices_are_not_guessed_if_something_else_may_be_meant(tmp_path, type_, more, says):
    """Two columns have few values; or spans are marked, so their relations may be missing."""
    tasks = [minimal(i, mood="good" if i % 2 else "bad") for i in range(20)]
    for number, task in enumerate(tasks):
        if more.get("ward"):
            task["ward"] = "ab"[number % 2]
        if not more.get("label"):
            del task["label"]
    with pytest.raises(ClinpromptError, match=says):
        make(tmp_path, type_, tasks)


def test_one_of_several_controls_can_be_named(tmp_path):
    other = span("o", 0, 2, "Rx", "MARK", control="marks")
    tasks = [annotated(i, IRON, other) for i in range(20)]
    _, data, records = make(tmp_path, "ner", tasks, label="marks")
    assert records[0].answer.spans == (Span(0, 2, "MARK"),)
    assert data.card.reader.controls == ("marks",)


@pytest.mark.parametrize(
    ("type_", "tasks", "says"),
    [
        ("ner", [{"text": SECRET}], "task 1: neither data and annotations"),
        ("ner", {"a": SECRET}, "not a JSON array"),
        ("ner", [annotated(7, span("i", 5, 9, SECRET, "X"))], "task 7: the text of a span"),
        ("ner", [annotated(7, span("i", 5, 9, "iron"))], "task 7: the span 5-9 needs a list"),
        ("re", [annotated(7, IRON)], "no relations and no choices"),
        ("re", [annotated(7, IRON, link("i", "x", "t"))], "names 'x', which is not annotated"),
        (
            "nli",
            [annotated(7, choice("a"), choice("b", "tone"))],
            "mood, tone; name one with --label COLUMN",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, type_, tasks, says):
    with pytest.raises(ClinpromptError) as caught:
        make(tmp_path, type_, tasks)
    assert says in str(caught.value)
    assert "export.json" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_tasks_new_says_how_offsets_are_read(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps([annotated(i, IRON) for i in range(20)]))
    out = str(tmp_path / "made")
    arguments = ["tasks", "new", "--type", "ner", "--from", str(tmp_path / "export.json")]
    made = CliRunner().invoke(app, [*arguments, "--out", out], catch_exceptions=False)
    assert "offsets: count UTF-16 code units" in " ".join(made.output.split())


class TestManyFiles:
    def test_a_thousand_files_are_patterns_with_counts(self, tmp_path):
        (tmp_path / "in").mkdir()
        for number in range(500):
            (tmp_path / "in" / f"n{number}.txt").write_text("Iron.")
            (tmp_path / "in" / f"n{number}.ann").write_text("T1\tDrug 0 4\tIron")
        draft = draft_task("ner", tmp_path / "in")
        [line] = [line for line in draft.found if line.startswith("train: ")]
        assert line.endswith("of 500 records, *.txt 500, *.ann 500")
        assert max(map(len, draft.found)) < 200
        assert len(draft.card_text) < 3000

    def test_many_files_of_one_folder_are_one_pattern_in_the_card(self, tmp_path):
        for split, count in (("train", 9), ("dev", 2), ("test", 7)):
            (tmp_path / "in" / split).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "in" / split / f"{number}.bio").write_text("iron\tB-X\n")
        draft = draft_task("ner", tmp_path / "in")
        files = draft.data.card.files
        assert files.train == ("train/*.bio",)
        assert files.validation == ("dev/0.bio", "dev/1.bio")
        assert "train: 9 of 18 records, train/*.bio 9" in draft.found
        write_task(draft, tmp_path / "task")
        assert len(load_task(find_card(str(tmp_path / "task")), None).splits["train"]) == 9

    def test_no_pattern_takes_in_the_files_of_another_split(self, tmp_path):
        (tmp_path / "in").mkdir()
        for split in ("train", "dev", "test"):
            for number in range(7):
                (tmp_path / "in" / f"{split}-{number}.bio").write_text("iron\tB-X\n")
        draft = draft_task("ner", tmp_path / "in")
        assert len(draft.data.card.files.train) == 7
        assert "train: 7 of 21 records, *.bio 7" in draft.found


def test_exports_of_one_name_in_several_folders_are_divided_by_the_usual_shares(tmp_path):
    for ward in ("a", "b"):
        (tmp_path / "in" / ward).mkdir(parents=True)
        tasks = [annotated(number, RASH, IRON) for number in range(30)]
        for task in tasks:
            task["data"]["text"] += f" on ward {ward}"
        (tmp_path / "in" / ward / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    made = draft_task("ner", tmp_path / "in").data.splits
    sizes = {split: len(records) for split, records in made.items()}
    assert sizes["train"] + sizes["validation"] + sizes["test"] == 60
    assert abs(sizes["validation"] - 6) <= 1
    assert abs(sizes["test"] - 22) <= 1
