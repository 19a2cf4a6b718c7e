"""No request, however broken, is an error of the server or changes how it answers the next."""

import pytest
from malformed import FAULTS, TASK, malformed

NOTE = {"tasks": [TASK], "text": "Takes aspirin. Lisinopril was stopped."}
JSON = {"Content-Type": "application/json"}


def answers(server):
    given = server.client.post("/v1/predict", json=NOTE)
    assert given.status_code == 200
    return given.json()["answers"]


def test_malformed_requests_are_refused_and_leave_the_server_as_it_was(server):
    before = answers(server)
    requests = list(malformed(400, seed=0))
    assert {one.fault for one in requests} == set(FAULTS)
    for one in requests:
        given = server.client.post(one.path, content=one.body, headers=JSON)
        assert 400 <= given.status_code < 500, (one.fault, one.path, one.body[:200], given.text)
        assert sorted(given.json()["error"]) == ["code", "message", "param", "type"]
    assert answers(server) == before
    assert server.client.get("/readyz").status_code == 200
    assert server.state.engine.num_rows == 0
    assert server.state.engine.num_failures == 0


@pytest.mark.parametrize("seed", range(3))
def test_malformed_lines_of_a_batch_are_refused_one_by_one(server, seed):
    requests = [one for one in malformed(120, seed=seed) if one.path == "/v1/predict"]
    lines = [one.body.replace(b"\n", b" ").replace(b"\r", b" ") for one in requests]
    lines = [line for line in lines if line.strip()]
    given = server.client.post("/v1/predict/batch", content=b"\n".join(lines), headers=JSON)
    assert given.status_code == 200
    rows = given.json() if len(lines) == 1 else given.text.splitlines()
    assert len(rows) == len(lines)
    assert given.text.count('"type": "invalid_request_error"') == len(lines)
    assert server.state.engine.num_failures == 0


@pytest.mark.parametrize("half", ["\\ud800", "x\\udfff"])
def test_half_a_character_in_an_id_is_refused(server, half):
    """The answer repeats the id, and no answer can hold this one."""
    body = f'{{"tasks": ["{TASK}"], "text": "Takes aspirin.", "id": "{half}"}}'
    given = server.client.post("/v1/predict", content=body, headers=JSON)
    assert given.status_code == 422
    assert "id: Value error, has half a character" in given.json()["error"]["message"]
    lines = server.client.post("/v1/predict/batch", content=f"{body}\n{body}", headers=JSON)
    assert lines.text.count('"type": "invalid_request_error"') == 2


TEXTS = [
    "\x00",
    " ",
    "\n\n",
    "\u202e\u200b",
    "\U0001f9ec" * 50,
    "a\u0301" * 99,
    "<|im_end|>",
    "\x85",
]


@pytest.mark.parametrize("text", TEXTS)
def test_strange_texts_are_answered_or_refused(server, text):
    tasks = [task.name for task in server.state.tasks]
    body = {"tasks": tasks, "text": text, "fields": {"statement": text}}
    assert server.client.post("/v1/predict", json=body).status_code in (200, 400)
    assert server.state.engine.num_failures == 0
