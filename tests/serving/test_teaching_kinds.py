"""Every kind of task can be made, corrected, adapted and taken out, and read back the same."""

import csv
import io
import json
import zipfile

import pytest
from made_workspace import metaprompt_in, teaching

from clinprompt.api import load_task
from clinprompt.prompts.store import open_prompt
from clinprompt.tasks.readers.generic.brat import BratReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.label_studio import LabelStudioReader

SPAN, END = {"start": 6, "end": 13, "type": "DRUG"}, {"start": 14, "end": 19, "type": "DOSE"}
TEXT = "Takes aspirin 81 mg, he says; 😀."
ROW = {"id": "id", "fields": {"text": "text"}}
LABELS = ({"name": "DRUG", "word": "drug"}, {"name": "NOT", "word": "no drug"})
CASES = {
    "ner": ({"entities": [SPAN]}, {"view": {"answer": "entities"}, "row": ROW}),
    "re": (
        {"relations": [{"type": "DRUG", "head": SPAN, "tail": END}]},
        {"view": {"answer": "relations"}, "row": ROW},
    ),
    "classification": (
        {"label": "NOT"},
        {"row": {**ROW, "label": "choice", "verbatim": True}},
    ),
    "nli": (
        {"label": "DRUG"},
        {
            "row": {
                "id": "id",
                "fields": {"text": "text", "statement": "statement"},
                "label": "choice",
                "verbatim": True,
            }
        },
    ),
    "summarization": (
        {"text": "On aspirin."},
        {"row": {**ROW, "text": "answer", "verbatim": True}},
    ),
    "qa": (
        {"text": "aspirin"},
        {
            "row": {
                "id": "id",
                "fields": {"question": "question", "context": "context"},
                "text": "answer",
                "verbatim": True,
            }
        },
    ),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny_llama, tiny_llama_folder):
    folder = tmp_path_factory.mktemp("kinds")
    # Sources of all types: those of the made metaprompt are of two.
    metaprompt = metaprompt_in(folder, tiny_llama_folder, routing="all")
    with teaching(tiny_llama, folder / "work", metaprompt) as found:
        yield found


def note_of(kind, number=0):
    text = f"{TEXT} {number}"
    return {
        "nli": {"text": text, "fields": {"statement": "He takes aspirin."}},
        "qa": {"fields": {"question": "Which drug?", "context": text}},
    }.get(kind, {"text": text})


@pytest.mark.parametrize("kind", CASES)
def test_a_task_of_every_kind_is_made_corrected_and_taken_out(page, kind, tmp_path):
    answer, reader = CASES[kind]
    labels = LABELS if kind in ("ner", "re", "classification", "nli") else ()
    made = page.make(kind, kind, labels)
    page.post(f"/tasks/{kind}/notes", {"notes": [note_of(kind, 1), note_of(kind, 2)]})
    page.correct(2, task=kind, answer=lambda _: answer)
    [one, _] = page.get(f"/tasks/{kind}/corrections")["corrections"]
    assert made["fields"] == list(reader["row"]["fields"])

    folder = page.file(f"/tasks/{kind}/folder")
    zipfile.ZipFile(io.BytesIO(folder.content)).extractall(tmp_path)
    data = load_task(tmp_path / kind)
    records = data.splits["train"]
    assert [record.id for record in records] == ["note-1", "note-2"]
    text = {} if kind == "qa" else {"text": one["text"]}
    assert records[0].fields == {**text, **one["fields"]}

    (tmp_path / "export.json").write_bytes(
        page.file(f"/tasks/{kind}/corrections/file", form="label_studio").content
    )
    [file] = open_files(tmp_path, "export.json")
    given = LabelStudioReader.model_validate({"name": "label_studio", **reader})
    again = list(given.read(file))
    assert [(r.id, r.fields, r.answer) for r in again] == [
        (r.id, r.fields, r.answer) for r in records
    ]

    lines = page.file(f"/tasks/{kind}/corrections/file", form="jsonl").text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["note-1", "note-2"]
    table = page.file(f"/tasks/{kind}/corrections/file", form="csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["id"] for row in rows] == ["note-1", "note-2"]
    note = {"question": "Which drug?", "context": f"{TEXT} 1"} if kind == "qa" else {}
    note |= {} if kind == "qa" else {"text": f"{TEXT} 1"}
    note |= {"statement": "He takes aspirin."} if kind == "nli" else {}
    assert json.loads(lines[0]).items() >= {"task": kind, **note, **in_json(answer)}.items()
    assert json.loads(lines[0])["said"] == one["said"]
    assert rows[0].items() >= {**note, **IN_TABLE[kind], "prompt": one["prompt"]}.items()
    right = ["right"] if kind in ("ner", "re") else []  # mistakes of the model are listed, too
    assert list(rows[0]) == ["id", *note, *IN_TABLE[kind], *right, "said", "prompt"]
    assert rows[0]["said"] == said_in_table(kind, one)


IN_TABLE = {
    "ner": {"label": "DRUG", "mention": "aspirin", "start": "6", "end": "13"},
    "re": {
        "label": "DRUG",
        "head_text": "aspirin",
        "head_type": "DRUG",
        "head_start": "6",
        "head_end": "13",
        "tail_text": "81 mg",
        "tail_type": "DOSE",
        "tail_start": "14",
        "tail_end": "19",
    },
    "classification": {"label": "NOT"},
    "nli": {"label": "DRUG"},
    "summarization": {"answer": "On aspirin."},
    "qa": {"answer": "aspirin"},
}


def in_json(answer):
    if "text" in answer:
        return {"answer": answer["text"]}
    texts = {6: "aspirin", 14: "81 mg"}

    def shown(values):
        if "start" in values:
            return {**values, "text": texts[values["start"]]}
        return {**values, "head": shown(values["head"]), "tail": shown(values["tail"])}

    lists = {name: one for name, one in answer.items() if name != "label"}
    return answer if not lists else {name: [*map(shown, one)] for name, one in lists.items()}


def said_in_table(kind, one):
    """Return what the table has of what the model had said."""
    if kind in ("ner", "re"):
        return "yes" if one["is_same"] else "no"
    [said] = (one["said"][name] for name in ("label", "text", "unparseable") if name in one["said"])
    return said


@pytest.mark.parametrize("kind", ["ner", "re"])
def test_brat_reads_what_was_taken_out(page, kind, tmp_path):
    taken = page.file(f"/tasks/{kind}/corrections/file", form="brat")
    assert taken.headers["content-disposition"].endswith(f"{kind}-brat.zip")
    zipfile.ZipFile(io.BytesIO(taken.content)).extractall(tmp_path)
    answer = "entities" if kind == "ner" else "relations"
    reader = BratReader(name="brat", view={"answer": answer})
    [file] = open_files(tmp_path, "note-1.ann")
    [record] = reader.read(file)
    data = load_task(page.folder / kind)
    assert record.answer == data.splits["train"][0].answer
    assert "DRUG" in (tmp_path / "annotation.conf").read_text()


def test_brat_refuses_labels(page):
    error = page.get("/tasks/nli/corrections/file", 409, form="brat")
    assert error["code"] == "not_in_brat"


def test_a_prompt_is_taken_out_and_loaded(page, tmp_path):
    taken = page.file("/tasks/ner/artifact")
    zipfile.ZipFile(io.BytesIO(taken.content)).extractall(tmp_path)
    artifact, _ = open_prompt(tmp_path / "ner")
    assert artifact.manifest.tasks[0]["name"] == "ner"
    assert page.get("/tasks/ner/artifact", 404, version=7)["code"] == "unknown_version"


def test_answers_of_the_page_are_written_as_files(page):
    answers = [{"id": "a", "text": TEXT, "answer": {"entities": [SPAN], "ungrounded": ["zinc"]}}]
    for form, word in {"jsonl": "aspirin", "csv": "aspirin", "label_studio": "labels"}.items():
        body = {"task": "ner", "form": form, "answers": answers}
        given = page.client.post("/v1/export/batch", json=body)
        assert given.status_code == 200, given.text
        assert word in given.text
    wrong = [{"text": TEXT, "answer": {"entities": [{**SPAN, "end": 900}]}}]
    body = {"task": "ner", "form": "brat", "answers": wrong}
    refused = page.client.post("/v1/export/batch", json=body)
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "answers.0.answer.entities.0.end"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["re", "nli", "summarization"])
def test_other_kinds_are_adapted(page, kind, monkeypatch, tmp_path):
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    run = page.adapt(kind)
    assert (run["state"], run["message"]) == ("done", "")
    both = page.compared(run, kind)
    assert both["trained"]["num"] == 2
    used = page.post(f"/tasks/{kind}/prompt", {"version": run["run"]})
    assert used["served"]["corrections"] == 2
    note = note_of(kind, 3)
    given = page.client.post("/v1/predict", json={"tasks": [kind], **note})
    assert given.status_code == 200, given.text
