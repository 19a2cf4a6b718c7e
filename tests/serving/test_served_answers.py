"""Answers over HTTP are those of ``predict``, in this project's form and in OpenAI's."""

import json

import openai
import pytest
from made_server import running
from made_store import TASKS, save_store

from clinprompt.jobs.annotate import as_json, prompt_on
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import instruction_of
from clinprompt.tasks.records import Record

NOTES = (
    "Takes metformin 500 mg daily. No nausea. Aspirin was stopped.",
    "Reports chest pain. Started lisinopril 10 mg.",
    "Nothing of note today; sertraline 50 mg continued, ibuprofen as needed.",
)


def offline(server, task, text):
    loaded = prompt_on(server.state._backbone, server.store / task)
    [prediction] = loaded.annotate([Record("x", fields_of(task, text))])
    values = as_json(loaded.card, prediction)
    del values["id"]
    return values, prediction.text


def fields_of(task, text):
    return {"text": text} | ({"statement": "Takes aspirin."} if "nli" in task else {})


def asked(task, text, **more):
    own = fields_of(task, text)
    return {"text": own.pop("text"), "fields": own, **more}


@pytest.mark.parametrize("text", NOTES)
def test_one_note_under_all_tasks_gets_the_answers_of_predict(server, text):
    body = {"tasks": list(TASKS), "id": "7", **asked("nli", text)}
    given = server.client.post("/v1/predict", json=body)
    assert given.status_code == 200, given.text
    values = given.json()
    assert values["id"] == "7"
    assert [one["task"] for one in values["answers"]] == list(TASKS)
    for one in values["answers"]:
        expected, _ = offline(server, one["task"], text)
        assert one == expected


def test_a_batch_keeps_the_order_and_names_the_lines_that_cannot_be_answered(server):
    lines = [
        json.dumps({"id": str(n), "tasks": [TASKS[0]], "text": NOTES[n % 3]}) for n in range(6)
    ]
    lines.insert(2, "{broken")
    lines.insert(4, json.dumps({"tasks": ["practice-ner-drug"], "text": "x"}))
    given = server.client.post(
        "/v1/predict/batch",
        content="\n".join(lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert given.status_code == 200
    rows = [json.loads(line) for line in given.text.splitlines()]
    assert [row.get("id", row.get("line")) for row in rows] == ["0", "1", 3, "2", 5, "3", "4", "5"]
    assert "not valid JSON" in rows[2]["error"]["message"]
    assert "did you mean practice-ner-drugs" in rows[4]["error"]["message"]
    for number, row in enumerate(row for row in rows if "id" in row):
        assert row["answers"] == [offline(server, TASKS[0], NOTES[number % 3])[0]]


def test_tasks_are_listed(server):
    rows = server.client.get("/v1/tasks").json()
    assert sorted(row["name"] for row in rows) == sorted(TASKS)
    [drugs] = [row for row in rows if row["name"] == "practice-ner-drugs"]
    assert (drugs["kind"], drugs["fields"], drugs["labels"]) == ("ner", ["text"], ["drug"])
    [history] = [row for row in rows if row["name"] == "practice-nli-history"]
    assert history["fields"] == ["statement", "text"]
    for row in rows:
        assert row["instruction"] == instruction_of(find_card(row["name"]))
        assert "{" not in row["instruction"]
    assert history["instruction"].endswith("yes or no.")
    saved = [path.stat().st_size for path in server.store.rglob("prompt.safetensors")]
    assert sorted(row["prompt"]["bytes"] for row in rows) == sorted(saved)
    assert {row["prompt"]["positions"] for row in rows} == {4}


def test_a_note_need_not_name_the_only_task(tmp_path, tiny_llama, tiny_llama_folder):
    store = save_store(tmp_path / "store", tiny_llama_folder, tasks=TASKS[:1])
    with running(tiny_llama, store) as server:
        given = server.client.post("/v1/predict", json={"text": NOTES[0]})
        assert given.status_code == 200, given.text
        assert given.json()["answers"] == [offline(server, TASKS[0], NOTES[0])[0]]
        line = server.client.post(
            "/v1/predict/batch",
            content=json.dumps({"text": NOTES[0]}),
            headers={"Content-Type": "application/jsonl"},
        )
        assert line.json()["answers"] == given.json()["answers"]
        assert server.client.post("/v1/predict", json={"tasks": []}).status_code == 422


def test_of_several_tasks_a_note_must_name_some(server):
    given = server.client.post("/v1/predict", json={"text": NOTES[0]})
    assert given.status_code == 422
    error = given.json()["error"]
    assert error["param"] == "tasks"
    assert error["message"].startswith("tasks: name one or more of the tasks of this server: ")
    assert all(task in error["message"] for task in TASKS)


@pytest.fixture
def client(server):
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="a-secret-of-the-tests", max_retries=0
    ) as found:
        yield found


def extra_of(task, text):
    fields = fields_of(task, text)
    del fields["text"]
    return {"fields": fields} if fields else {}


@pytest.mark.parametrize("task", TASKS)
def test_openai_client_completes_and_streams_the_same_text(server, client, task):
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": NOTES[0]}]
    extra = extra_of(task, NOTES[0])
    _, text = offline(server, task, NOTES[0])
    whole = client.chat.completions.create(
        model=task, messages=messages, temperature=0, extra_body=extra
    )
    assert whole.choices[0].message.content == text
    pieces = list(
        client.chat.completions.create(
            model=task,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=extra,
        )
    )
    assert "".join(one.choices[0].delta.content for one in pieces if one.choices) == text
    assert pieces[-1].usage == whole.usage
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    plain = client.completions.create(model=task, prompt=NOTES[0], extra_body=extra)
    assert plain.choices[0].text == text
    streamed = client.completions.create(model=task, prompt=NOTES[0], stream=True, extra_body=extra)
    assert "".join(one.choices[0].text for one in streamed) == text


def test_json_object_gives_the_typed_answer(server, client):
    task = "practice-ner-drugs"
    found = client.chat.completions.create(
        model=task,
        messages=[{"role": "user", "content": NOTES[2]}],
        response_format={"type": "json_object"},
    )
    assert json.loads(found.choices[0].message.content) == offline(server, task, NOTES[2])[0]


def test_max_tokens_may_only_lower_the_limit(client):
    def written(**limit):
        found = client.completions.create(model="practice-sum-plan", prompt=NOTES[0], **limit)
        return found.usage.completion_tokens, found.choices[0].finish_reason

    full = written()
    assert written(max_tokens=3) == (3, "length")
    assert written(max_tokens=10_000) == full


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.7),
        ("n", 2),
        ("stop", ["x"]),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("logprobs", True),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(client, name, value):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model="practice-sum-plan",
            messages=[{"role": "user", "content": "x"}],
            **{name: value},
        )
    assert raised.value.param == name


def test_models_are_tasks(client):
    assert sorted(one.id for one in client.models.list()) == sorted(TASKS)
    assert client.models.retrieve(TASKS[0]).id == TASKS[0]
    with pytest.raises(openai.NotFoundError, match="did you mean practice-ner-drugs"):
        client.models.retrieve("practice-ner-drug")
