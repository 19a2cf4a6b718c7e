"""The commands and the code on the page about serving work as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
TOKEN = "a-secret-of-the-tests"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


CURL = [block for block in blocks("sh") if "curl" in block]


@pytest.fixture
def variables(server, monkeypatch):
    monkeypatch.setenv("SERVER", server.url)
    monkeypatch.setenv("TOKEN", TOKEN)


def shape(value):
    """Return the names and types of a JSON value; of a list those that any item has."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", CURL)
def test_curl_examples_are_answered(block, variables, tmp_path):
    ran = subprocess.run(
        ["sh", "-e", "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout
    assert '"error"' not in ran.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shown_answer_has_the_form_of_a_real_one(variables):
    [shown] = blocks("json")
    ran = subprocess.run(["sh", "-c", CURL[0]], capture_output=True, text=True, check=True)
    expected, found = shape(json.loads(shown)), shape(json.loads(ran.stdout))
    if found["answers"][0]["entities"] == "list":  # the tiny model may find nothing
        found["answers"][0]["entities"] = expected["answers"][0]["entities"]
    assert found == expected


def test_code_for_openai_runs(variables, capsys):
    [code] = blocks("python")
    names = {}
    exec(compile(code, "serving.md", "exec"), names)
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[0])["task"] == "practice-ner-drugs"
    assert names["answer"].choices[0].message.content in ("yes", "no")
    names["client"].close()


def test_the_page_names_every_status_that_the_server_answers():
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "src" / "clinprompt" / "serving").glob("*.py")
    )
    statuses = set(re.findall(r"Refused\(\s*(\d{3}),", source)) - {"499"}  # nobody is left to see
    assert statuses == set(re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE))


def test_the_page_states_the_defaults_of_the_limits():
    from clinprompt.serving.access import Limits  # noqa: PLC0415

    limits = Limits()
    for words, value in {
        "`--max-rows`": f"{limits.rows:,}",
        "`--max-seconds`": f"{limits.seconds:g}",
        "`--max-characters`": f"{limits.text_characters:,}",
        "bytes of a request": f"{limits.body_bytes >> 20} MiB",
        "bytes of a batch": f"{limits.batch_bytes >> 20} MiB",
    }.items():
        [row] = [line for line in PAGE.splitlines() if line.startswith("|") and words in line]
        assert f"| {value} |" in row
