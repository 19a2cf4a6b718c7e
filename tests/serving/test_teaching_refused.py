"""What a workspace refuses: it names the field and never repeats what was sent, nor leaves DIR."""

import json
import shutil

import pytest
from made_server import MARK, running, serving, wait_until
from made_store import save_store
from made_workspace import metaprompt_in, notes_of, open_workspace, teaching

from clinprompt.errors import ArtifactError, DataError, SettingError
from clinprompt.files import locked
from clinprompt.serving.teaching import adapting
from clinprompt.serving.teaching import teacher as teacher_module
from clinprompt.serving.teaching.child import ANOTHER

NER = {"name": "other", "kind": "ner", "labels": [{"name": "A"}]}


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny_llama, tiny_llama_folder):
    folder = tmp_path_factory.mktemp("refused")
    metaprompt = metaprompt_in(folder, tiny_llama_folder)
    limits = {"text_characters": 400}
    with teaching(tiny_llama, folder / "work", metaprompt, **limits) as found:
        found.make()
        found.post("/tasks/drugs/notes", {"notes": notes_of(3)})
        found.correct(1)
        yield found


NAMES = [
    "",
    "..",
    "../x",
    "a/b",
    ".x",
    "store",
    "Metaprompts",
    "x" * 65,
    "a\n",
    "a b",
    "é",
    MARK * 9,
]
CARDS = {
    **{f"name {name!r}": ({"name": name}, "name") for name in NAMES},
    "public name": ({"name": "practice-ner-drugs"}, "name"),
    "kind": ({"kind": MARK}, "kind"),
    "no labels": ({"labels": []}, "labels"),
    "one class": ({"kind": "classification"}, "labels"),
    "labels of a text": ({"kind": "qa"}, "labels"),
    "too many labels": ({"labels": [{"name": f"A{at}"} for at in range(41)]}, "labels"),
    "empty label": ({"labels": [{"name": " "}]}, "labels.0.name"),
    "long label": ({"labels": [{"name": MARK * 20}]}, "labels.0.name"),
    "label of two lines": ({"labels": [{"name": f"A\n{MARK}"}]}, "labels.0.name"),
    "same label": ({"labels": [{"name": "A"}, {"name": "A", "word": "b"}]}, "labels.1.name"),
    "same word": (
        {"labels": [{"name": "A", "word": MARK}, {"name": "B", "word": MARK.upper()}]},
        "labels.1.word",
    ),
    "code": ({"instruction": f"{MARK} {{% for one in range(9) %}}"}, "instruction"),
    "name in code": ({"instruction": f"{{{{ {MARK} }}}}"}, "instruction"),
    "long instruction": ({"instruction": MARK * 500}, "instruction"),
    "long title": ({"title": MARK * 30}, "title"),
    "type with no source": ({"kind": "summarization", "labels": []}, "kind"),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_card_that_is_not_valid_is_refused_by_its_field(page, heard, case):
    changes, field = CARDS[case]
    before = sorted(page.folder.rglob("*"))
    error = page.post("/tasks", {**NER, **changes}, 422)
    assert (error["code"], error["param"]) == ("invalid_card", field)
    assert error["message"].startswith(f"{field}: ") or field == "kind"
    assert MARK not in json.dumps(error).casefold()
    assert sorted(page.folder.rglob("*")) == before


def test_a_taken_name_is_refused_in_any_case(page):
    for name in ("drugs", "DRUGS"):
        error = page.post("/tasks", {**NER, "name": name}, 409)
        assert (error["code"], error["param"]) == ("name_taken", "name")


SPAN = {"start": 0, "end": 5, "type": "DRUG"}
OF_TASK = "/tasks/drugs"
REQUESTS = {
    "task": ("get", f"/tasks/{MARK}", None, 404, "unknown_task"),
    "path": ("get", f"/tasks/..%2F..%2F{MARK}", None, 404, None),
    "dots": ("get", f"/tasks/%2e%2e/{MARK}", None, 404, None),
    "no notes": ("post", f"{OF_TASK}/notes", {"notes": []}, 422, "invalid_request"),
    "name of note": ("post", f"{OF_TASK}/notes", {"notes": [{MARK: MARK}]}, 422, "invalid_request"),
    "blank note": ("post", f"{OF_TASK}/notes", {"notes": [{"text": " "}]}, 422, "invalid_note"),
    "half a character": (
        "post",
        f"{OF_TASK}/notes",
        f'{{"notes": [{{"text": "{MARK} \\ud800"}}]}}',
        422,
        "invalid_note",
    ),
    "half an id": (
        "post",
        f"{OF_TASK}/notes",
        f'{{"notes": [{{"text": "{MARK}", "id": "\\udfff"}}]}}',
        422,
        "invalid_note",
    ),
    "long note": (
        "post",
        f"{OF_TASK}/notes",
        {"notes": [{"text": MARK * 60}]},
        413,
        "text_too_long",
    ),
    "order": ("post", f"{OF_TASK}/offers", {"order": MARK}, 422, "invalid_request"),
    "note": ("post", f"{OF_TASK}/skips", {"note": 99}, 404, "unknown_note"),
    "note as text": ("post", f"{OF_TASK}/skips", {"note": MARK}, 422, "invalid_request"),
    "note of truth": ("post", f"{OF_TASK}/skips", {"note": True}, 422, "invalid_request"),
    "large note": ("post", f"{OF_TASK}/skips", {"note": 10**400}, 404, "unknown_note"),
    "answer": (
        "post",
        f"{OF_TASK}/corrections",
        {"note": 1, "answer": MARK},
        422,
        "invalid_request",
    ),
    "type of answer": (
        "post",
        f"{OF_TASK}/corrections",
        {"note": 1, "answer": {"entities": [{**SPAN, "type": MARK}]}},
        422,
        "invalid_answer",
    ),
    "half a type": (
        "post",
        f"{OF_TASK}/corrections",
        '{"note": 1, "answer": {"entities": [{"start": 0, "end": 5, "type": "\\ud800"}]}}',
        422,
        None,
    ),
    "end of answer": (
        "post",
        f"{OF_TASK}/corrections",
        {"note": 1, "answer": {"entities": [{**SPAN, "end": 5000, "text": MARK}]}},
        422,
        "invalid_answer",
    ),
    "version": ("post", f"{OF_TASK}/prompt", {"version": 7}, 404, "unknown_version"),
    "run": ("get", f"{OF_TASK}/runs/7", None, 404, "unknown_run"),
    "run as text": ("get", f"{OF_TASK}/runs/{MARK}", None, 422, "invalid_request"),
    "form": ("get", f"{OF_TASK}/corrections/file?form={MARK}", None, 422, "invalid_request"),
    "removed note": ("delete", f"{OF_TASK}/notes/{MARK}", None, 422, "invalid_request"),
    "nothing": ("post", f"{OF_TASK}/undo", {MARK: MARK}, 422, "invalid_request"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_what_is_refused_is_not_repeated(page, heard, capfd, case):
    method, path, body, status, code = REQUESTS[case]
    content = body if isinstance(body, str | None) else json.dumps(body)
    given = page.client.request(
        method,
        f"{page.server.url}/v1/workspace{path}",
        content=content,
        headers={"Content-Type": "application/json"},
    )
    assert given.status_code == status, given.text
    error = given.json()["error"]
    assert code in (None, error["code"])
    assert MARK not in given.text
    assert MARK not in "".join(capfd.readouterr())


def test_a_note_that_was_not_offered_cannot_be_corrected(page):
    page.post("/tasks/drugs/notes", {"notes": notes_of(2, first=50)})
    last = page.get("/tasks/drugs/notes")["notes"][-1]["note"]
    error = page.post("/tasks/drugs/skips", {"note": last}, 409)
    assert error["code"] == "not_offered"


def test_an_internal_error_is_logged_without_its_message(page, heard, capfd, monkeypatch):
    def broken(*_, **__):
        raise ValueError(f"a mistake of ours with {MARK}")

    page.post("/tasks/drugs/notes", {"notes": [{"text": f"{MARK} {n}"} for n in range(3)]})
    with monkeypatch.context() as patch:
        patch.setattr("clinprompt.serving.teaching.task.TaughtTask.choose", broken)
        given = page.client.post("/v1/workspace/tasks/drugs/offers", json={"order": "random"})
        repeated = page.client.post("/v1/workspace/tasks/drugs/offers", json={})
        wait_until(lambda: any("answering ahead failed: ValueError" in one for one in heard))
    for one in (given, repeated):
        assert one.json()["error"]["code"] == "internal_error"
        assert MARK not in one.text
    assert MARK not in "".join(capfd.readouterr())


def test_without_a_workspace_every_route_says_so(tmp_path, tiny_llama, tiny_llama_folder):
    store = save_store(tmp_path / "store", tiny_llama_folder, tasks=("practice-ner-drugs",))
    with running(tiny_llama, store) as server:
        paths = server.client.get("/openapi.json").json()["paths"]
        own = {path: one for path, one in paths.items() if path.startswith("/v1/workspace")}
        assert len(own) > 15
        bodies = {
            "/tasks": NER,
            "notes": {"notes": [{"text": "x"}]},
            "corrections": {"note": 1, "answer": {}},
            "skips": {"note": 1},
            "prompt": {"version": 1},
        }
        for path, methods in own.items():
            place = path.replace("{task}", "x").replace("{note}", "1").replace("{run}", "1")
            for method in methods:
                body = bodies.get(path.rpartition("/")[2], NER if path.endswith("/tasks") else {})
                given = server.client.request(
                    method.upper(),
                    f"{place}?form=csv" if place.endswith("file") else place,
                    **({"json": body} if method == "post" else {}),
                )
                assert given.status_code == 404, (path, given.text)
                assert given.json()["error"]["code"] == "no_workspace"
                assert "--workspace" in given.json()["error"]["message"]


def test_too_little_memory_is_said_with_its_numbers(page, monkeypatch):
    monkeypatch.setattr(teacher_module, "free_bytes", lambda _: 100_000_000)
    error = page.post("/tasks/drugs/runs", {}, 409)
    assert error["code"] == "too_little_memory"
    assert "only 0.1 GB are free" in error["message"]


def test_another_adaptation_on_this_machine_is_waited_for(page):
    with locked(adapting.lock_file(), wait=True):
        error = page.post("/tasks/drugs/runs", {}, 409)
    assert (error["code"], error["message"]) == ("is_adapting", ANOTHER)


def test_a_removed_note_is_in_no_file(page):
    page.make("gone")
    page.post("/tasks/gone/notes", {"notes": [{"text": f"{MARK} {n}"} for n in range(4)]})
    page.correct(2, task="gone", answer=lambda _: {"entities": [{**SPAN, "end": 9}]})
    folder = page.folder / "gone"
    holding = [path for path in folder.rglob("*") if path.is_file() and MARK in text_of(path)]
    assert len(holding) == 3
    for note in page.get("/tasks/gone/notes")["notes"]:
        page.delete(f"/tasks/gone/notes/{note['note']}")
    assert page.get("/tasks/gone")["notes"] == {"waiting": 0, "corrected": 0, "skipped": 0}
    assert not [path for path in folder.rglob("*") if path.is_file() and MARK in text_of(path)]
    added = page.post("/tasks/gone/notes", {"notes": [{"text": "new"}]})
    assert added["notes"][0]["note"] == 5  # a number is never given again
    left = page.delete("/tasks/gone")["tasks"]
    assert "gone" not in {task["name"] for task in left}
    assert not folder.exists()
    assert not (page.folder / "store" / "gone").exists()
    assert page.client.get("/v1/models/gone").status_code == 404


def text_of(path):
    return path.read_bytes().decode(errors="replace")


def test_other_folders_are_no_workspace(tmp_path, tiny_llama, tiny_llama_folder):
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "letter.txt").write_text("x")
    with pytest.raises(SettingError, match=r"has other files than tasks \(letter.txt\)"):
        open_workspace(tiny_llama, home, metaprompt)
    assert home.stat().st_mode & 0o777 == 0o755
    with pytest.raises(SettingError, match="is a file"):
        open_workspace(tiny_llama, home / "letter.txt", metaprompt)
    store = save_store(tmp_path / "prompt", tiny_llama_folder, tasks=("practice-ner-drugs",))
    with pytest.raises(SettingError, match="is a single prompt"):
        open_workspace(
            tiny_llama, tmp_path / "work", metaprompt, store=store / "practice-ner-drugs"
        )


def test_a_damaged_workspace_is_said_at_the_start(tmp_path, tiny_llama, tiny_llama_folder):
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    with teaching(tiny_llama, tmp_path / "work", metaprompt) as page:
        page.make()
        page.post("/tasks/drugs/notes", {"notes": notes_of(3)})
        page.correct(2)

    def opened(change):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "work", tmp_path / "copy")
        change(tmp_path / "copy" / "drugs")
        return open_workspace(tiny_llama, tmp_path / "copy", metaprompt)

    def add(name, text):
        return lambda folder: (folder / name).write_text((folder / name).read_text() + text)

    with pytest.raises(DataError, match=r"corrections.jsonl:5: is damaged"):
        opened(add("corrections.jsonl", "{\n"))
    with pytest.raises(DataError, match="would be lost; move them into another file"):
        opened(add("train.jsonl", json.dumps({"id": "mine", "text": MARK}) + "\n"))
    with pytest.raises(DataError, match=r"lacks notes that corrections.jsonl names"):
        opened(lambda folder: (folder / "notes.jsonl").unlink())
    with pytest.raises(DataError, match=r"card.toml"):
        opened(add("card.toml", "!"))
    with pytest.raises(ArtifactError):
        opened(lambda folder: (folder.parent / "store/drugs/prompt.safetensors").write_bytes(b"x"))
    state, teacher = opened(lambda folder: shutil.rmtree(folder.parent / "store"))
    assert state.tasks.names == ["drugs"]  # its prompt is put into the store again
    assert teacher.tasks["drugs"].counts()["corrected"] == 2
    state, _ = opened(lambda folder: (folder / "train.jsonl").unlink())
    assert len((tmp_path / "copy/drugs/train.jsonl").read_text().splitlines()) == 2
    with serving(state, tmp_path / "copy/store"):
        pass
