"""What a client sends is in no log, no metric and no error, also if the server itself fails."""

import asyncio
import gc
import json
from socket import create_connection

import pytest
from made_server import MARK, TOKEN, running, wait_until
from made_store import TASKS

NOTE = {"tasks": [TASKS[0]], "text": "Takes aspirin."}
PROMPT = {"model": TASKS[0], "prompt": "Takes aspirin."}
CHAT = {"model": TASKS[3], "messages": [{"role": "user", "content": "Takes aspirin."}]}
DEEP = f"{MARK} " * 60


@pytest.fixture(scope="module")
def small(store, tiny_llama):
    with running(tiny_llama, store, text_characters=400, body_bytes=5000, rows=3) as found:
        yield found


def sent(server, method, path, *, content=None, query="", **headers):
    body = content if isinstance(content, str | bytes | None) else json.dumps(content)
    kind = {"Content-Type": "application/json"} | headers
    return server.client.request(method, path + query, content=body, headers=kind)


PLANTED = {
    "text too long": ("POST", "/v1/predict", {**NOTE, "text": DEEP}),
    "field too long": ("POST", "/v1/predict", {**NOTE, "fields": {"text": DEEP}}),
    "field missing": ("POST", "/v1/predict", {"tasks": [TASKS[2]], "text": MARK}),
    "name of field": ("POST", "/v1/predict", {"tasks": [TASKS[2]], "fields": {MARK: MARK}}),
    "field of another type": ("POST", "/v1/predict", {**NOTE, "fields": {MARK: [MARK]}}),
    "text of another type": ("POST", "/v1/predict", {**NOTE, "text": {MARK: MARK}}),
    "id of another type": ("POST", "/v1/predict", {**NOTE, "id": [MARK]}),
    "key": ("POST", "/v1/predict", {**NOTE, MARK: 1}),
    "task": ("POST", "/v1/predict", {**NOTE, "tasks": [MARK]}),
    "tasks": ("POST", "/v1/predict", {**NOTE, "tasks": {MARK: MARK}}),
    "options": ("POST", "/v1/predict", {**NOTE, "options": [MARK, {MARK: 1}]}),
    "half a character": ("POST", "/v1/predict", {**NOTE, "text": f"{MARK} \ud800"}),
    "broken": ("POST", "/v1/predict", f'{{"tasks": ["{TASKS[0]}"], "text": "{MARK}'),
    "not JSON": ("POST", "/v1/predict", MARK),
    "not UTF-8": ("POST", "/v1/predict", MARK.encode() + b"\xff\xfe"),
    "too many digits": ("POST", "/v1/predict", f'{{"{MARK}": {"9" * 4500}}}'),
    "too deep": ("POST", "/v1/predict", f'{"[" * 2400}"{MARK}"'),
    "body too large": ("POST", "/v1/predict", {**NOTE, "text": MARK * 600}),
    "too many rows": ("POST", "/v1/predict", {"tasks": [TASKS[0]] * 4, "text": MARK}),
    "model": ("POST", "/v1/completions", {**PROMPT, "model": MARK}),
    "parameter": ("POST", "/v1/completions", {**PROMPT, MARK: MARK}),
    "value of parameter": ("POST", "/v1/completions", {**PROMPT, "stop": [MARK]}),
    "tools": ("POST", "/v1/chat/completions", {**CHAT, "tools": [{"name": MARK}]}),
    "role": ("POST", "/v1/chat/completions", {**CHAT, "messages": [{"role": MARK}]}),
    "no user": (
        "POST",
        "/v1/chat/completions",
        {**CHAT, "messages": [{"role": "system", "content": MARK}]},
    ),
    "part of message": (
        "POST",
        "/v1/chat/completions",
        {**CHAT, "messages": [{"role": "user", "content": [{"type": MARK, "text": MARK}]}]},
    ),
    "format": ("POST", "/v1/chat/completions", {**CHAT, "response_format": {"type": MARK}}),
    "path": ("GET", f"/{MARK}", None),
    "path of model": ("GET", f"/v1/models/{MARK}/{MARK}", None),
    "path with slash": ("GET", f"/v1/tasks/?{MARK}={MARK}", None),
    "method": ("DELETE", f"/v1/predict?{MARK}={MARK}", None),
}


@pytest.mark.parametrize("place", PLANTED)
def test_what_is_refused_is_not_repeated(small, heard, capfd, place):
    method, path, content = PLANTED[place]
    refused = sent(small, method, path, content=content, **{"X-Note": MARK, "User-Agent": MARK})
    assert 400 <= refused.status_code < 500, refused.text
    assert "error" in refused.json()
    assert MARK not in refused.text + str(refused.headers)
    assert MARK not in small.client.get("/metrics").text
    assert MARK not in "".join(capfd.readouterr())


@pytest.mark.parametrize("header", ["Host", "Origin", "Authorization", "Content-Type"])
def test_headers_are_not_repeated(small, heard, capfd, header):
    refused = sent(small, "POST", "/v1/predict", content=NOTE, **{header: MARK})
    assert 400 <= refused.status_code < 500
    assert MARK not in refused.text + str(refused.headers)
    assert MARK not in "".join(capfd.readouterr())


def test_what_is_no_request_is_not_repeated(small, heard, capfd):
    for text in (f"{MARK}\r\n\r\n", f"GET / HTTP/1.1\r\nContent-Length: {MARK}\r\n\r\n"):
        with create_connection(("127.0.0.1", small.port)) as own:
            own.sendall(text.encode())
            own.settimeout(30)
            answer = own.recv(10_000).decode()
        assert answer.startswith("HTTP/1.1 400")
        assert MARK not in answer
    assert MARK not in "".join(capfd.readouterr())


def test_an_answer_repeats_the_id_and_words_of_the_text_only(small, heard, capfd):
    given = sent(small, "POST", "/v1/predict", content={**NOTE, "text": MARK, "id": MARK}).json()
    assert given.pop("id") == MARK
    for one in given.pop("answers"):
        del one["entities"]
        assert MARK not in json.dumps(one)
    assert MARK not in json.dumps(given)
    for stream in (False, True):
        body = {**CHAT, "user": MARK, "metadata": {MARK: MARK}, "stream": stream}
        assert MARK not in sent(small, "POST", "/v1/chat/completions", content=body).text
    assert MARK not in small.client.get("/metrics").text
    assert MARK not in "".join(capfd.readouterr())


def test_lines_of_a_batch_that_are_refused_are_not_repeated(small, heard, capfd):
    contents = [one for method, path, one in PLANTED.values() if path == "/v1/predict"]
    lines = [one if isinstance(one, str | bytes) else json.dumps(one) for one in contents]
    body = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    given = sent(small, "POST", "/v1/predict/batch", content=body)
    rows = [json.loads(line) for line in given.text.splitlines()]
    assert [row["line"] for row in rows] == list(range(1, len(lines) + 1))
    assert all(row["error"]["type"] == "invalid_request_error" for row in rows)
    assert MARK not in given.text
    assert MARK not in "".join(capfd.readouterr())


def broken(*_, **__):
    raise ValueError(f"a mistake of ours with {MARK}")


SEAMS = {
    "tokenizing": "clinprompt.jobs.task_table.ServedTask.question",
    "reading": "clinprompt.backbone.scheduler.Scheduler.step",
    "answering": "clinprompt.evaluation.questions.Question.prediction",
    "waiting": "clinprompt.serving.state.ServerState.answers",
    "showing": "clinprompt.serving.state.as_json",
}
INTERFACES = {
    "predict": ("/v1/predict", NOTE),
    "batch": ("/v1/predict/batch", "\n".join([json.dumps(NOTE)] * 40)),
    "completion": ("/v1/completions", {**PROMPT, "response_format": {"type": "json_object"}}),
    "stream": (
        "/v1/chat/completions",
        {**CHAT, "stream": True, "response_format": {"type": "json_object"}},
    ),
}


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize("interface", INTERFACES)
def test_the_message_of_an_internal_error_is_shown_to_nobody(
    small, heard, capfd, monkeypatch, seam, interface
):
    path, content = INTERFACES[interface]
    with monkeypatch.context() as patch:
        patch.setattr(SEAMS[seam], broken)
        given = sent(small, "POST", path, content=content)
    is_begun = interface == "batch" or (interface == "stream" and seam != "tokenizing")
    assert given.status_code == (200 if is_begun else 500)
    texts = [one for one in given.text.removeprefix("data: ").splitlines() if "error" in one]
    assert len(texts) == (40 if interface == "batch" else 1)
    for text in texts:
        error = json.loads(text.removeprefix("data: "))["error"]
        assert error["type"] == "server_error"
        assert error["code"] == "internal_error"
    assert MARK not in given.text
    assert MARK not in small.client.get("/metrics").text
    assert MARK not in "".join(capfd.readouterr())
    wait_until(lambda: any("ValueError in test_no_leak.py, broken" in one for one in heard))
    wait_until(lambda: not small.state.engine.num_rows)
    assert sent(small, "POST", "/v1/predict", content=NOTE).status_code == 200


def test_errors_of_routes_and_reload_are_shown_to_nobody(small, heard, capfd, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("clinprompt.serving.state.load_tasks", broken)
        patch.setattr("clinprompt.serving.app._info", broken)
        for method, path in (("POST", "/v1/tasks/reload"), ("GET", "/v1/tasks")):
            refused = sent(small, method, path)
            assert refused.status_code == 500
            assert refused.json()["error"]["code"] == "internal_error"
            assert MARK not in refused.text
    assert MARK not in "".join(capfd.readouterr())
    wait_until(lambda: len([one for one in heard if "ValueError in test_no_leak.py" in one]) == 2)
    assert small.client.get("/v1/tasks").status_code == 200


def test_errors_that_no_task_waits_for_are_logged_without_message(small, heard, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("clinprompt.serving.predict_api._line", background)
        sent(small, "POST", "/v1/predict/batch", content="{}\n{}\n{}")
    wait_until(lambda: any("in the background" in one for one in heard))


async def background(*_):
    async def lost():
        broken()

    task = asyncio.create_task(lost())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    return {}


def test_the_token_is_not_logged(small, heard):
    sent(small, "GET", "/v1/tasks", Authorization=f"Bearer {TOKEN}x")
    assert TOKEN not in "\n".join(heard)
