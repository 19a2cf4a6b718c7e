"""The queue has limits, clients may leave, and a failed batch does not end the server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from socket import create_connection

import openai
import pytest
import torch
from command_line import call
from made_server import TOKEN, counted, held, running, wait_until
from made_store import TASKS

from clinprompt.jobs import task_table
from clinprompt.jobs.task_table import load_backbone_for
from clinprompt.serving import server

NOTE = {"tasks": [TASKS[0]], "text": "Takes aspirin."}
CHAT = {"model": TASKS[3], "messages": [{"role": "user", "content": "Takes aspirin."}]}


@pytest.fixture
def small(store, tiny_llama):
    """A server whose queue has four places; after each test all are free."""
    with running(tiny_llama, store, rows=4, seconds=30) as found:
        yield found
        wait_until(lambda: not found.state.engine.num_rows)
        assert found.state.engine._scheduler.is_idle or not found.state.engine.is_running
        assert not found.state.engine._jobs


def error_of(given, status):
    assert given.status_code == status, given.text
    return given.json()["error"]


def test_a_full_queue_refuses_and_answers_what_it_holds(small):
    with ThreadPoolExecutor(4) as pool:
        with held(small):
            waiting = [pool.submit(small.client.post, "/v1/predict", json=NOTE) for _ in range(4)]
            wait_until(lambda: small.state.engine.num_rows == 4)
            for path, body in (
                ("/v1/predict", NOTE),
                ("/v1/completions", {"model": TASKS[0], "prompt": "x"}),
                ("/v1/chat/completions", {**CHAT, "stream": True}),
            ):
                assert error_of(small.client.post(path, json=body), 429)["code"] == "queue_full"
        assert [one.result().status_code for one in waiting] == [200] * 4
    assert counted(small, 'code="429"') == 3
    assert counted(small, 'code="200"') == 4


def test_the_limit_holds_for_the_rows_of_all_tasks_of_a_request(small):
    with ThreadPoolExecutor(1) as pool:
        with held(small):
            waiting = pool.submit(small.client.post, "/v1/predict", json=NOTE)
            wait_until(lambda: small.state.engine.num_rows == 1)
            given = small.client.post("/v1/predict", json={**NOTE, "tasks": [TASKS[0]] * 4})
            message = error_of(given, 429)["message"]
            assert "limit is 4" in message
        assert waiting.result().status_code == 200


def test_a_batch_waits_for_places_in_the_queue(small):
    lines = [json.dumps({**NOTE, "id": str(number)}) for number in range(60)]
    given = small.client.post(
        "/v1/predict/batch",
        content="\n".join(lines),
        headers={"Content-Type": "application/jsonl"},
    )
    rows = [json.loads(line) for line in given.text.splitlines()]
    assert [row["id"] for row in rows] == [str(number) for number in range(60)]
    assert counted(small, 'code="429"') == 0
    assert counted(small, 'code="200"') == 60


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up(small, monkeypatch, is_stream):
    monkeypatch.setattr(small.state, "limits", replace(small.state.limits, seconds=0.2))
    with held(small):
        given = small.client.post("/v1/chat/completions", json={**CHAT, "stream": is_stream})
        if is_stream:
            assert given.status_code == 200
            last = given.text.strip().splitlines()[-1]
            error = json.loads(last.removeprefix("data: "))["error"]
        else:
            error = error_of(given, 504)
        assert error["code"] == "timeout"
        assert "0.2 s" in error["message"]
    assert counted(small, 'code="504"') == 1


def posted(server, path, body):
    """Send a request, and return its connection without reading the answer."""
    kind = "application/jsonl" if path.endswith("batch") else "application/json"
    own = create_connection(("127.0.0.1", server.port))
    own.sendall(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return own


@pytest.mark.parametrize(
    ("path", "body", "rows"),
    [
        ("/v1/predict", json.dumps({**NOTE, "tasks": [TASKS[0], TASKS[3]]}), 2),
        ("/v1/predict/batch", "\n".join([json.dumps(NOTE)] * 50), 4),
        ("/v1/chat/completions", json.dumps(CHAT), 1),
        ("/v1/chat/completions", json.dumps({**CHAT, "stream": True}), 1),
    ],
)
def test_a_client_that_leaves_frees_its_rows(small, path, body, rows):
    engine = small.state.engine
    with held(small):
        own = posted(small, path, body)
        wait_until(lambda: engine.num_rows == rows)
        own.close()
        wait_until(lambda: counted(small, 'code="499"') >= 1)
        if "batch" in path:
            time.sleep(0.2)  # lines that waited for a place must not take it now
            assert engine.num_rows == rows
    wait_until(lambda: not engine.num_rows)
    assert engine.num_tokens_written == 0  # no token was written for it
    assert small.client.post("/v1/predict", json=NOTE).status_code == 200


def test_a_client_that_leaves_an_answer_half_written_frees_its_row(small, monkeypatch):
    engine = small.state.engine
    step = engine._scheduler.step

    def slow():
        time.sleep(0.05)
        return step()

    monkeypatch.setattr(engine._scheduler, "step", slow)
    own = posted(small, "/v1/chat/completions", json.dumps({**CHAT, "stream": True}))
    wait_until(lambda: engine.num_tokens_written >= 2)
    own.close()
    wait_until(lambda: not engine.num_rows)
    assert engine.num_tokens_written < 30  # of 40
    assert counted(small, 'code="499"') == 1


def test_a_failed_step_fails_its_batch_and_the_server_goes_on(small, monkeypatch):
    def broken():
        raise RuntimeError("of this step")

    with ThreadPoolExecutor(4) as pool:
        with held(small):
            waiting = [pool.submit(small.client.post, "/v1/predict", json=NOTE) for _ in range(3)]
            wait_until(lambda: small.state.engine.num_rows == 3)
            monkeypatch.setattr(small.state.engine._scheduler, "step", broken)
        for one in waiting:
            error = error_of(one.result(), 500)
            assert error["type"] == "server_error"
            assert "RuntimeError in test_queue.py" in error["message"]
            assert "of this step" not in error["message"]
    assert small.client.post("/v1/predict", json=NOTE).status_code == 200
    assert small.client.get("/readyz").status_code == 200
    metrics = small.client.get("/metrics").text
    assert "clinprompt_failures 1.0" in metrics
    assert "clinprompt_rows 0.0" in metrics


def test_parts_of_a_note_that_end_in_one_step_give_one_answer(small):
    """Every window has the same lines: all are read in one step and end in one step."""
    long = {"tasks": [TASKS[1]], "text": "Takes aspirin.\n" * 50}
    with ThreadPoolExecutor(2) as pool:
        with held(small):
            waiting = [pool.submit(small.client.post, "/v1/predict", json=long)]
            wait_until(lambda: small.state.engine.num_rows == 3)
            waiting.append(pool.submit(small.client.post, "/v1/predict", json=NOTE))
            wait_until(lambda: small.state.engine.num_rows == 4)
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert small.state.engine.num_failures == 0


def test_an_answer_that_cannot_be_read_fails_alone(small, monkeypatch):
    def broken(_):
        raise RuntimeError("of this answer")

    with monkeypatch.context() as patch:
        patch.setattr("clinprompt.evaluation.questions.Question.prediction", broken)
        assert error_of(small.client.post("/v1/predict", json=NOTE), 500)
    assert small.client.post("/v1/predict", json=NOTE).status_code == 200


def test_a_failed_stream_ends_with_an_error_that_clients_raise(small, monkeypatch):
    def broken():
        raise RuntimeError("of this step")

    with openai.OpenAI(base_url=f"{small.url}/v1", api_key=TOKEN, max_retries=0) as client:
        monkeypatch.setattr(small.state.engine._scheduler, "step", broken)
        with pytest.raises(openai.APIError, match="RuntimeError in test_queue"):
            list(client.chat.completions.create(**CHAT, stream=True))
        pieces = list(client.chat.completions.create(**CHAT, stream=True))
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")


def test_a_server_whose_engine_has_ended_is_not_ready(small, monkeypatch):
    def broken(*_):
        raise RuntimeError("no memory")

    with ThreadPoolExecutor(2) as pool:
        with held(small):
            waiting = [pool.submit(small.client.post, "/v1/predict", json=NOTE) for _ in range(2)]
            wait_until(lambda: small.state.engine.num_rows == 2)
            monkeypatch.setattr(small.state.engine._scheduler, "step", broken)
            monkeypatch.setattr("clinprompt.serving.engine.Scheduler", broken)
            assert small.client.get("/readyz").status_code == 200
        assert [one.result().status_code for one in waiting] == [500, 500]
    wait_until(lambda: small.client.get("/readyz").status_code == 503)
    assert small.client.get("/healthz").status_code == 200
    assert error_of(small.client.post("/v1/predict", json=NOTE), 503)["code"] == "not_ready"
    headers = {"Content-Type": "application/json"}
    assert error_of(small.client.post("/v1/tasks/reload", headers=headers), 503)


def test_questions_that_reach_an_ended_engine_fail_at_once(small, monkeypatch):
    def broken(*_):
        raise RuntimeError("no memory")

    engine = small.state.engine
    with ThreadPoolExecutor(2) as pool:
        with held(small):
            first = pool.submit(small.client.post, "/v1/predict", json=NOTE)
            wait_until(lambda: engine.num_rows == 1)
            monkeypatch.setattr(engine, "_fail", broken)
            engine._inbox.put(broken)
            second = pool.submit(small.client.post, "/v1/predict", json=NOTE)
            wait_until(lambda: engine.num_rows == 2)
        assert [first.result().status_code, second.result().status_code] == [500, 500]


def test_all_interfaces_are_counted_alike(small):
    before = counted(small, 'code="200"')
    for path, body in (
        ("/v1/predict", NOTE),
        ("/v1/completions", {"model": TASKS[0], "prompt": "x"}),
        ("/v1/completions", {"model": TASKS[0], "prompt": "x", "stream": True}),
        ("/v1/chat/completions", {**CHAT, "model": TASKS[0]}),
        ("/v1/chat/completions", {**CHAT, "model": TASKS[0], "stream": True}),
    ):
        assert small.client.post(path, json=body).status_code == 200
    assert counted(small, 'code="200"') == before + 5
    text = small.client.get("/metrics").text
    assert f'clinprompt_answer_seconds_count{{task="{TASKS[0]}"}} 5.0' in text
    missing = {"model": TASKS[2], "prompt": "x"}  # its statement
    assert error_of(small.client.post("/v1/completions", json=missing), 400)
    assert counted(small, 'code="400"') == 1


def test_a_server_computes_in_its_engine_alone(store, tiny_llama_folder, monkeypatch):
    """With a team of threads for the main thread as well, waiting threads of the engine sleep."""
    cores, computing, states = torch.get_num_threads(), [], []

    def load(*given, **others):
        computing.append(torch.get_num_threads())
        return load_backbone_for(*given, **others)

    monkeypatch.setattr(task_table, "load_backbone_for", load)
    monkeypatch.setattr(server, "serve", lambda state, *_: states.append(state))
    try:
        torch.set_num_threads(3)
        call("serve", store, "--backbone", tiny_llama_folder, "--device", "cpu")
        assert computing == [1]
        [state] = states
        state.engine.start()
        assert state.engine.call(torch.get_num_threads).result(timeout=60) == 3
        state.engine.stop()
    finally:
        torch.set_num_threads(cores)
