"""The command as a user meets it: quick help, one sentence for a mistake."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clinprompt import __version__

COMMAND = Path(sys.executable).parent / "clinprompt"


def call(*arguments, folder=None, columns=100):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "TERM": "dumb", "COLUMNS": str(columns), "NO_COLOR": "1"},
    )


@pytest.mark.parametrize("module", ["torch", "transformers", "scipy", "matplotlib"])
def test_the_command_line_loads_nothing_heavy(module):
    code = f"import sys, clinprompt.cli; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_has_help():
    for words in (["tasks"], ["prompts"], ["compare"], ["quickstart"], ["predict"]):
        result = call(*words, "--help")
        assert result.returncode == 0
        assert "Usage: clinprompt" in result.stdout


def test_version_is_printed():
    assert call("--version").stdout.strip() == f"clinprompt {__version__}"


def assert_one_sentence(result, *words):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""


def test_an_unknown_task_is_one_sentence_and_exit_code_2():
    result = call("tasks", "show", "practice-ner-drug", "--examples", "0")
    assert_one_sentence(result, "practice-ner-drug", "did you mean practice-ner-drugs")


def test_an_unknown_setting_is_one_sentence_and_exit_code_2(tmp_path):
    result = call("quickstart", "--set", "prompt.lenght=3", folder=tmp_path)
    assert_one_sentence(result, "prompt.lenght", "did you mean length")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_prompt_is_one_sentence_and_exit_code_2(tmp_path):
    assert_one_sentence(call("prompts", "show", tmp_path / "none"), "is not a saved prompt")


@pytest.mark.parametrize("name", ["a[b]c", "[/red]", "[bold]"])
def test_a_mistake_with_brackets_is_shown_as_it_was_typed(name):
    assert_one_sentence(call("tasks", "show", name, "--examples", "0"), name)


def test_a_prompt_in_a_folder_with_brackets_is_shown_as_it_is_named(tmp_path, tiny_llama_folder):
    folder = tmp_path / "[bold]run"
    result = call(
        "tune",
        "practice-nli-social",
        "--out",
        folder,
        "--set",
        f"backbone={tiny_llama_folder}",
        "--set",
        "teacher.steps=0",
        "--set",
        "prompt.length=2",
    )
    assert result.returncode == 0, result.stderr
    assert str(folder) in result.stdout


def test_tasks_are_listed_as_json():
    rows = json.loads(call("tasks", "list", "--json").stdout)
    assert {"name", "type", "metric", "use", "license"} == rows[0].keys()
    assert "practice-ner-drugs" in {row["name"] for row in rows}


def test_the_list_of_tasks_has_one_line_a_task_on_80_columns():
    names = [row["name"] for row in json.loads(call("tasks", "list", "--json").stdout)]
    lines = call("tasks", "list", columns=80).stdout.splitlines()
    assert [line.split()[0] for line in lines if line.strip()][2:] == names
    assert max(map(len, lines)) <= 80


def test_tasks_show_renders_examples():
    result = call("tasks", "show", "practice-nli-social", "--examples", "1")
    assert result.returncode == 0
    assert "practice-nli-social" in result.stdout
    assert "instruction: " in result.stdout


def long_task(folder):
    texts = [f"begins {n} " + "and so on, " * 900 + f"ends {n}" for n in range(9)]
    rows = [{"text": text, "label": "yn"[n % 2]} for n, text in enumerate(texts)]
    data = folder / "long.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    call("tasks", "new", "--type", "nli", "--from", data, "--text", "text", folder=folder)
    return folder / "long"


def test_the_middle_of_a_long_input_is_left_out_unless_asked_for(tmp_path):
    folder = long_task(tmp_path)
    cut, whole = (call("tasks", "show", folder, *more).stdout for more in ((), ("--whole",)))
    for shown in (cut, whole):
        assert shown.count("begins") == shown.count("ends") == 2
    assert len(cut.splitlines()) < 80 < len(whole.splitlines())
    num_lines = (len(whole.splitlines()) - len(cut.splitlines())) // 2 + 1
    assert cut.count(f"... {num_lines} lines left out; --whole shows them ...") == 2
    assert "left out" not in whole


def test_what_a_suite_lacks_is_said_beside_what_is_printed(tmp_path):
    suite = tmp_path / "mine.toml"
    names = 'sources = ["practice-nli-history"]\ntargets = ["practice-nli-social"]\n'
    suite.write_text(f'name = "mine"\ntitle = "two"\n{names}missing = ["no [real] notes"]\n')
    result = call("tasks", "check", "--suite", suite, "--json")
    assert f"suite {suite}: no [real] notes" in result.stderr
    assert len(json.loads(result.stdout)) == 2


def test_tasks_check_says_what_survives():
    [row] = json.loads(call("tasks", "check", "practice-nli-social", "--json").stdout)
    assert row["survive"]["rows"] == 1.0


def test_tasks_check_fits_80_columns_and_says_at_the_end_what_is_wrong(tmp_path):
    result = call(
        *("tasks", "check", "ner-psytar", "--suite", "practice", "--mirror", tmp_path), columns=80
    )
    assert result.returncode == 2
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for task in ("practice-re-frequency", "practice-nli-medication"):
        assert any(line.split()[:1] == [task] for line in lines)
    assert any(line.split() == ["ner-psytar", "no", "data"] for line in lines)
    assert result.stderr.startswith(f"error: ner-psytar: {tmp_path / 'ner-psytar'}: no such folder")


def test_ctrl_c_names_a_command_that_goes_on(tmp_path, tiny_llama_folder):
    """The command that is printed, typed as it stands, takes up the run instead of refusing it."""
    settings = [
        f"backbone={tiny_llama_folder}",
        "teacher.steps=100000",
        "data.max_input_tokens=600",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    folder = tmp_path / "run"
    # Where the tests run in the background, Ctrl-C is ignored, and a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [COMMAND, "quickstart", "--out", folder, *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    while process.poll() is None and not (folder / "metrics.jsonl").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    typed = shlex.split(complaint.partition("Continue with: ")[2])
    assert typed[:2] == ["clinprompt", "quickstart"]
    assert [typed[i + 1] for i, word in enumerate(typed) if word == "--set"] == settings


_MAKES_A_FOLDER_AND_WAITS = """
import time
from pathlib import Path
from clinprompt import cli
from clinprompt.files import new_folder

def wait(folder: Path):
    with new_folder(folder) as draft:
        (draft / "note.txt").write_text("a note")
        print("written", flush=True)
        time.sleep(60)

cli.app.command("wait")(wait)
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_no_half_written_folder(tmp_path, number):
    command = [sys.executable, "-c", _MAKES_A_FOLDER_AND_WAITS, "wait", tmp_path / "f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(number)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []
