"""The whole loop: make a task, correct notes, adapt, compare, use, and take it back."""

import json
import stat

import pytest
from made_workspace import drug_in, metaprompt_in, notes_of, teaching

from clinprompt.jobs.annotate import prompt_on
from clinprompt.tasks.records import Record

TEXT = "Takes ramipril 5 mg daily."


@pytest.fixture
def page(tmp_path, tiny_llama, tiny_llama_folder):
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as found:
        yield found


def offline(page, backbone, version):
    folder = page.folder / "drugs" / "prompts" / str(version)
    [prediction] = prompt_on(backbone, folder).annotate([Record("x", {"text": TEXT})])
    return [(one.start, one.end) for one in getattr(prediction.answer, "spans", ())], prediction


def spans(answer):
    return [(one["start"], one["end"]) for one in answer.get("entities", [])]


@pytest.mark.slow
def test_the_whole_loop(page, tiny_llama):
    assert page.get("")["tasks"] == []
    made = page.make(instruction="Write each drug.", title="Drugs")
    assert made["served"] == {"version": 0, "prompt": made["served"]["prompt"], "corrections": 0}
    [task] = page.client.get("/v1/tasks").json()
    assert (task["name"], task["method"], task["shots"]) == ("drugs", "metaprompt", 0)
    assert (task["title"], task["is_trained"]) == ("Drugs", False)
    untrained, _ = offline(page, tiny_llama, 0)
    assert spans(page.predict(TEXT)) == untrained

    added = page.post("/tasks/drugs/notes", {"notes": notes_of(20)})
    assert (added["added"], added["known"]) == (20, 0)
    corrected = page.correct(16)
    assert corrected[-1]["notes"] == {"waiting": 4, "corrected": 16, "skipped": 0}

    run = page.adapt()
    assert (run["state"], run["message"]) == ("done", "")
    assert (run["step"], run["of"], run["corrections"], run["rows"]) == (4, 4, 16, 16)
    assert spans(page.predict(TEXT)) == untrained  # not served before it is used

    both = page.compared(run)
    assert both["trained"]["num"] == 16
    assert both["not_trained"] is None
    assert "trained on" in both["note"]
    assert len(both["notes"]) == 16
    assert all(one["answer"]["entities"][0]["type"] == "DRUG" for one in both["notes"])

    used = page.post("/tasks/drugs/prompt", {"version": run["run"]})
    assert (used["served"]["version"], used["served"]["corrections"]) == (1, 16)
    trained, prediction = offline(page, tiny_llama, 1)
    answer = page.predict(TEXT)
    assert spans(answer) == trained
    assert answer.get("ungrounded", []) == list(getattr(prediction.answer, "ungrounded_lines", ()))
    [task] = page.client.get("/v1/tasks").json()
    assert (task["shots"], task["is_trained"]) == (16, True)
    assert page.post("/tasks/drugs/prompt/undo", {})["served"]["version"] == 0
    assert spans(page.predict(TEXT)) == untrained
    assert page.post("/tasks/drugs/prompt/undo", {}, 409)["code"] == "nothing_to_undo"
    assert [one["version"] for one in page.get("/tasks/drugs/prompts")["prompts"]] == [0, 1]


def test_all_files_are_for_the_owner_alone(page):
    page.make()
    page.post("/tasks/drugs/notes", {"notes": notes_of(3)})
    page.correct(2)
    folder = page.folder / "drugs"
    for path in (page.folder, folder, folder / "prompts"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    written = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in written} >= {
        "card.toml",
        "train.jsonl",
        "notes.jsonl",
        "corrections.jsonl",
        "served.json",
    }
    for path in written:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_corrections_say_what_the_model_had_said(page):
    page.make()
    page.post("/tasks/drugs/notes", {"notes": notes_of(2)})
    offer = page.post("/tasks/drugs/offers", {"order": "random"})
    again = page.post("/tasks/drugs/offers", {"order": "random"})
    assert offer == again  # as after a reload
    assert offer["counts"]
    number = offer["note"]["note"]
    page.post("/tasks/drugs/corrections", {"note": number, "answer": {"entities": []}})
    [one] = page.get("/tasks/drugs/corrections")["corrections"]
    assert one["answer"] == {"entities": []}
    assert one["said"] == offer["suggestion"]
    assert (one["prompt"], one["order"], one["counts"]) == (offer["prompt"], "random", True)
    [line] = (page.folder / "drugs" / "train.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "id": offer["note"]["id"],
        "text": offer["note"]["text"],
        "entities": [],
    }
    page.post("/tasks/drugs/corrections", {"note": number, "answer": drug_in(one)})
    [line] = (page.folder / "drugs" / "train.jsonl").read_text().splitlines()
    assert json.loads(line)["entities"] == [
        {**{"start": 6, "label": "DRUG"}, "end": 6 + len(word), "text": word}
        for word in [offer["note"]["text"].split()[1]]
    ]


def test_undo_takes_back_the_last_correction_or_skip(page):
    page.make()
    page.post("/tasks/drugs/notes", {"notes": notes_of(3)})
    assert page.post("/tasks/drugs/undo", {}, 409)["code"] == "nothing_to_undo"
    first = page.post("/tasks/drugs/offers", {"order": "random"})["note"]["note"]
    page.post("/tasks/drugs/corrections", {"note": first, "answer": {"entities": []}})
    second = page.post("/tasks/drugs/offers", {"order": "random"})["note"]["note"]
    skipped = page.post("/tasks/drugs/skips", {"note": second})
    assert skipped["notes"] == {"waiting": 1, "corrected": 1, "skipped": 1}
    undone = page.post("/tasks/drugs/undo", {})
    assert (undone["undone"], undone["answer"]) == ("skipped", None)
    assert undone["offer"]["note"]["note"] == second
    undone = page.post("/tasks/drugs/undo", {})
    assert (undone["undone"], undone["answer"]) == ("corrected", {"entities": []})
    assert undone["notes"] == {"waiting": 3, "corrected": 0, "skipped": 0}
    assert (page.folder / "drugs" / "train.jsonl").read_text() == ""
    page.post("/tasks/drugs/corrections", {"note": first, "answer": {"entities": []}})
    assert page.get("/tasks/drugs")["notes"]["corrected"] == 1
