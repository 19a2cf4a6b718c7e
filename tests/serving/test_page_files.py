"""The files of the page: open without the token, but only these, and with a strict policy."""

from importlib.resources import files
from socket import create_connection

import pytest
from made_server import TOKEN

FILES = sorted(one.name for one in files("clinprompt.serving").joinpath("workbench").iterdir())
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


def get(server, name, **headers):
    return server.client.get(f"/workbench/{name}", headers={"Authorization": "", **headers})


@pytest.mark.parametrize("name", ["", *FILES])
def test_each_file_has_its_type_and_the_policy(server, name):
    given = get(server, name)
    assert given.status_code == 200
    kind = name.rpartition(".")[2] or "html"
    assert given.headers["content-type"] == TYPES[kind]
    assert set(given.headers["content-security-policy"].split("; ")) == POLICY
    assert given.headers["x-content-type-options"] == "nosniff"
    assert given.headers["referrer-policy"] == "no-referrer"
    assert given.headers["cache-control"] == "no-cache"
    assert TOKEN not in given.text


def test_the_page_has_nothing_that_its_policy_forbids(server):
    text = get(server, "").text
    assert "page.js" in FILES
    assert text.count("<script") == text.count("<script ") == text.count('src="page.js"') == 1
    for part in ("<style", " style=", " onclick=", "http:", "https:", "//"):
        assert part not in text
    for name in FILES:
        code = get(server, name).text
        assert "innerHTML" not in code
        assert "eval(" not in code


def test_the_address_without_slash_leads_to_the_page(server):
    given = server.client.get("/workbench?x=y", headers={"Authorization": ""})
    assert (given.status_code, given.headers["location"]) == (307, "/workbench/")


def raw(server, path):
    """Send a path as it is; clients would shorten it."""
    with create_connection(("127.0.0.1", server.port)) as own:
        own.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        own.settimeout(30)
        received = b""
        while part := own.recv(10_000):
            received += part
    return received.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/workbench/../page.py",
        "/workbench/..%2fpage.py",
        "/workbench/%2e%2e/page.py",
        "/workbench/..%5cpage.py",
        "/workbench/page.py",
        "/workbench//etc/passwd",
        "/workbench/%2fetc%2fpasswd",
        "/workbench/index.html%00.js",
        "/workbench/../v1/tasks",
        "/workbench/..",
    ],
)
def test_no_other_file_or_path_is_reached(server, path):
    assert raw(server, path).startswith("HTTP/1.1 404")


@pytest.mark.parametrize("path", ["/workbenchx", "/workbench%2f..%2fv1/tasks/reload2", "/v1/tasks"])
def test_other_paths_need_the_token(server, path):
    assert raw(server, path).split()[1] in ("401", "404")
    assert "practice" not in raw(server, path)


def test_other_servers_names_are_refused(server):
    assert get(server, "", Host="evil.example").status_code == 403
    assert get(server, "page.js", Origin="https://evil.example").status_code == 403


def test_the_page_is_listed(server):
    paths = server.client.get("/", headers={"Authorization": ""}).json()["paths"]
    assert paths["GET /workbench/"].startswith("Show notes with their answers")
