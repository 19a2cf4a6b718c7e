"""Who may use the server, and how large a request may be. All refusals have one form."""

import json
from dataclasses import replace
from socket import create_connection

import pytest
from made_server import TOKEN, held, running
from made_store import TASKS

from clinprompt.errors import SettingError
from clinprompt.serving.server import listening

NOTE = {"tasks": [TASKS[0]], "text": "Takes aspirin."}
GIVEN = f"Bearer {TOKEN}"


@pytest.fixture(scope="module")
def small(store, tiny_llama):
    limits = {"body_bytes": 2000, "batch_bytes": 4000, "text_characters": 500, "rows": 4}
    with running(tiny_llama, store, **limits) as found:
        yield found


def error_of(given, status):
    assert given.status_code == status, given.text
    assert given.headers["content-type"] == "application/json"
    [(name, error)] = given.json().items()
    assert name == "error"
    assert sorted(error) == ["code", "message", "param", "type"]
    return error


@pytest.mark.parametrize(
    "given",
    [
        b"",
        TOKEN.encode(),
        b"Bearer",
        f"Basic {TOKEN}".encode(),
        f"Bearer {TOKEN}x".encode(),
        f"Bearer {TOKEN[:-1]}".encode(),
        f"Bearer {TOKEN.upper()}".encode(),
        f"Bearer {TOKEN} {TOKEN}".encode(),
        b"Bearer \xe9\xff" + TOKEN.encode(),
        "Bearer µ".encode(),
    ],
)
def test_a_wrong_token_is_refused(server, given):
    refused = server.client.get("/v1/tasks", headers={"Authorization": given})
    assert error_of(refused, 401)["code"] == "invalid_api_key"
    assert refused.headers["www-authenticate"] == "Bearer"


def test_all_but_the_probes_and_the_page_need_the_token(server):
    def status(method, path):
        headers = {"Authorization": "", "Content-Type": "application/json"}
        return server.client.request(method, path, headers=headers).status_code

    paths = server.client.get("/openapi.json").json()["paths"]
    open_paths = {"/", "/workbench/", "/healthz", "/readyz"}
    assert {path for path in paths if status("GET", path) == 200} == open_paths
    for path, methods in paths.items():
        for method in methods:
            assert status(method.upper(), path) == (200 if path in open_paths else 401)
    for path in ("/openapi.json", "/docs", "/nothing", "//healthz", "/healthz/", "/healthz/../v1"):
        # A whole URL: alone, "//healthz" would be read as the name of a server.
        assert status("GET", f"{server.url}{path}") == 401


def test_the_address_itself_lists_all_paths_and_no_secret(server):
    given = server.client.get("/", headers={"Authorization": "", "Host": "any.example"})
    assert given.status_code == 200
    described = server.client.get("/openapi.json").json()["paths"]
    words = {f"{method.upper()} {path}" for path, own in described.items() for method in own}
    paths = given.json()["paths"]
    assert set(paths) == words
    assert paths["POST /v1/predict"] == "Answer one or many tasks on one note."
    assert all(paths.values())
    assert "docs/serving.md" in given.json()["documentation"]
    for secret in (TOKEN, str(server.store), *TASKS):
        assert secret not in given.text


def test_other_servers_names_are_refused(server):
    def given(**headers):
        return server.client.get("/v1/tasks", headers=headers)

    for host in ("evil.example", "", "127.0.0.1.evil.example", "evil.example:80"):
        assert error_of(given(Host=host), 403)["code"] == "unknown_host"
    for origin in ("null", "https://evil.example", "http://localhost.evil.example", "file://"):
        assert error_of(given(Origin=origin), 403)["code"] == "foreign_origin"
    assert given(Host="LOCALHOST:99", Origin="http://127.0.0.1:3000").status_code == 200
    probe = server.client.get("/readyz", headers={"Host": "10.0.0.7:8080", "Authorization": ""})
    assert probe.status_code == 200  # a probe addresses the server by a name of its own


def test_no_page_may_read_answers(server):
    given = server.client.get("/v1/tasks", headers={"Origin": "http://localhost"})
    assert not [one for one in given.headers if one.startswith("access-control")]
    asked = server.client.options("/v1/predict", headers={"Origin": "http://localhost"})
    assert error_of(asked, 405)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_only_json_is_read(server, kind):
    headers = {"Content-Type": kind}
    given = server.client.post("/v1/predict", content=json.dumps(NOTE), headers=headers)
    assert error_of(given, 415)["code"] == "unsupported_media_type"


def chunks(text, size=100):
    data = text.encode()
    yield from (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/chat/completions", "/v1/predict/batch"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(small, path, is_chunked):
    most = 4000 if path.endswith("batch") else 2000
    body = json.dumps(NOTE).ljust(most + 1)
    headers = {"Content-Type": "application/json"}
    content = chunks(body) if is_chunked else body
    error = error_of(small.client.post(path, content=content, headers=headers), 413)
    assert error["code"] == "body_too_large"
    assert str(most) in error["message"]
    if path == "/v1/predict":
        fits = body[:most]
        content = chunks(fits) if is_chunked else fits
        assert small.client.post(path, content=content, headers=headers).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up(small, monkeypatch):
    guard_limits = replace(small.state.limits, seconds=0.3)
    monkeypatch.setattr(small.guard, "_limits", guard_limits)
    with create_connection(("127.0.0.1", small.port)) as own:
        own.sendall(
            f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: {GIVEN}\r\n"
            "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{".encode()
        )
        own.settimeout(30)
        answer = ""
        while not answer.endswith("}}"):
            answer += own.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert '"code": "body_timeout"' in answer
    assert "0.3 s" in answer


def test_a_text_that_is_too_long_is_refused(small):
    for body in (
        {"tasks": [TASKS[0]], "text": "x" * 501},
        {"tasks": [TASKS[2]], "text": "x" * 400, "fields": {"statement": "x" * 101}},
        {"tasks": [TASKS[0]], "text": "x", "options": ["x" * 250, "x" * 250]},
    ):
        error = error_of(small.client.post("/v1/predict", json=body), 413)
        assert error["code"] == "text_too_long"
        assert "501" in error["message"]
        assert "limit is 500" in error["message"]
    chat = {"model": TASKS[0], "messages": [{"role": "user", "content": "x" * 501}]}
    assert error_of(small.client.post("/v1/chat/completions", json=chat), 413)


def test_an_unknown_task_gives_close_names_and_does_not_repeat_what_was_sent(small):
    for path, body in (
        ("/v1/predict", {"tasks": ["practice-ner-drug"], "text": "x"}),
        ("/v1/completions", {"model": "practice-ner-drug", "prompt": "x"}),
    ):
        error = error_of(small.client.post(path, json=body), 404)
        assert error["code"] == "unknown_task"
        assert "did you mean practice-ner-drugs" in error["message"]
    far = error_of(small.client.post("/v1/predict", json={"tasks": ["qq"], "text": "x"}), 404)
    assert all(task in far["message"] for task in TASKS)
    assert "qq" not in far["message"]
    assert error_of(small.client.get("/nothing"), 404)
    assert error_of(small.client.delete("/v1/predict"), 405)


def test_a_request_that_never_fits_the_queue_is_not_told_to_wait(small):
    body = {"tasks": [TASKS[0]] * 5, "text": "x"}
    error = error_of(small.client.post("/v1/predict", json=body), 413)
    assert error["code"] == "too_many_rows"
    assert "limit is 4" in error["message"]
    batch = small.client.post(
        "/v1/predict/batch",
        content="\n\n" + json.dumps(body) + "\n" + json.dumps(NOTE),
        headers={"Content-Type": "application/jsonl"},
    )
    first, second = map(json.loads, batch.text.splitlines())
    assert (first["line"], first["error"]["code"]) == (3, "too_many_rows")
    assert second["answers"]


def test_an_invalid_header_is_not_read(server):
    with held(server), create_connection(("127.0.0.1", server.port)) as own:
        own.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n")
        own.settimeout(30)
        assert own.recv(1000).startswith(b"HTTP/1.1 400")


def test_other_machines_need_a_token_file_and_a_name(tmp_path):
    secret = tmp_path / "token"
    secret.write_text("0123456789abcdef\n")
    with pytest.raises(SettingError, match="--token-file"):
        listening("192.168.1.5", 1, token_file=None)
    with pytest.raises(SettingError, match="--allowed-host"):
        listening("0.0.0.0", 1, token_file=secret)
    there = listening("0.0.0.0", 1, token_file=secret, allowed_hosts=("Notes.example:8080",))
    assert there.hosts == {"0.0.0.0", "notes.example"}
    assert listening("fe80::1", 1, token_file=secret).hosts == {"[fe80::1]"}
    assert listening("::1", 1, token_file=None).url == "http://[::1]:1"
    local = listening("127.0.0.1", 1, token_file=None)
    assert local.page_url == f"http://127.0.0.1:1/workbench/#token={local.token}"
    for text in ("short", "0123456789 abcdef", "é" * 20, ""):
        secret.write_text(text)
        with pytest.raises(SettingError, match="at least 16 ASCII"):
            listening("127.0.0.1", 1, token_file=secret)
