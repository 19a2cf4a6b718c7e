"""Text of a note is only in outputs that hold records: in no message, log, or file of a run.

Notes hold a mark. Each way to fail is driven; then the mark may be nowhere but in the user's own
files and in the answers that were asked for.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import call
from made_metaprompt import save_metaprompt

MARK = "zebrafish"
TASK = """
name = "mine"
type = "ner"
answer = "spans"
title = "Mine"
metric = "entity_f1"
source = { repository = "own", license = "own" }
reader = { name = "jsonl", spans = "spans", row = { fields = { text = "text" } } }
files = { train = ["train.jsonl"], test = ["test.jsonl"] }
labels = { DRUG = "drug" }
[wording]
version = 1
template = "{{ text }}\\nDrugs:"
instruction = "Write each drug."
"""


def row(number, **changes):
    text = f"Takes aspirin {number}, is a {MARK}{number}."
    return {"text": text, "spans": [{"start": 6, "end": 13, "label": "DRUG"}], **changes}


@pytest.fixture
def place(tmp_path, tiny_llama_folder, monkeypatch):
    """A folder with a task of marked notes, a metaprompt, new notes, and the cache."""
    monkeypatch.setenv("CLINPROMPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "card.toml").write_text(TASK)
    write(tmp_path / "task" / "train.jsonl", [row(n) for n in range(8)])
    write(tmp_path / "task" / "test.jsonl", [row(n) for n in range(8, 12)])
    write(tmp_path / "notes.jsonl", [{"id": "1", "text": f"Takes iron. A {MARK}."}])
    save_metaprompt(tmp_path / "metaprompt", tiny_llama_folder)
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def words_of(place, model, *more):
    return (
        *("adapt", "task", "--metaprompt", "metaprompt", "--shots", "4", "--out", "run"),
        *("--set", f"backbone={model}", "--set", "device=cpu"),
        *more,
    )


def files_with_mark(place):
    """Return the files that have the mark, as it is or in UTF-16, but for those of the user."""
    own = {"task/train.jsonl", "task/test.jsonl", "notes.jsonl"}
    marks = (MARK.encode(), MARK.encode("utf-16-le"))
    return {
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and any(mark in path.read_bytes() for mark in marks)
    } - own


def check_silent(place, ended, *holders):
    """Check that neither the screen nor a file has the mark, but for the named files."""
    assert MARK not in ended.stdout + ended.stderr
    assert files_with_mark(place) == set(holders)


@pytest.fixture
def adapted(place, tiny_llama_folder):
    ended = call(*words_of(place, tiny_llama_folder), folder=place)
    assert ended.exit_code == 0, ended.stderr
    return ended


def test_a_run_that_succeeds_keeps_no_text(place, adapted, tiny_llama_folder):
    check_silent(place, adapted)
    for name in ("metrics.jsonl", "config.json", "environment.json", "tasks.json"):
        assert (place / "run" / name).is_file()
    on = ("--backbone", tiny_llama_folder, "--device", "cpu")
    ended = call("evaluate", "run/store/mine", "--task", "task", *on, folder=place)
    assert ended.exit_code == 0, ended.stderr
    check_silent(place, ended)
    call("predict", "run/store/mine", "notes.jsonl", "out.jsonl", *on, "--free", folder=place)
    ended = call("prompts", "verify", "run/store/mine", *on[:2], folder=place)
    assert ended.exit_code == 0, ended.stderr
    assert MARK not in ended.stdout
    assert files_with_mark(place) <= {"out.jsonl"}  # answers may hold words of notes


DAMAGES = {
    "offset outside": lambda: json.dumps(row(1, spans=[{"start": 6, "end": 999, "label": "DRUG"}])),
    "offset of other words": lambda: json.dumps(
        row(1, spans=[{"start": 0, "end": 9, "label": "DRUG", "text": MARK}])
    ),
    "offset that is a text": lambda: json.dumps(row(1, spans=[{"start": MARK, "end": 9}])),
    "long label": lambda: json.dumps(row(1, spans=[{"start": 0, "end": 9, "label": f"a {MARK}"}])),
    "not UTF-8": lambda: b'{"text": "' + MARK.encode() + b'\xff"}',
    "not JSON": lambda: f'{{"text": "{MARK}',
    "not an object": lambda: f'"{MARK}"',
    "no text": lambda: f'{{"{MARK}": "{MARK}"}}',
    "half a character": lambda: f'{{"text": "{MARK} \\ud800"}}',
    "a list": lambda: f'{{"text": ["{MARK}"]}}',
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", ["adapt", "check", "show", "new"])
def test_a_damaged_record_is_not_repeated(command, damage, place, tiny_llama_folder):
    line = DAMAGES[damage]()
    with (place / "task" / "train.jsonl").open("ab") as stream:
        stream.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
    words = {
        "adapt": words_of(place, tiny_llama_folder),
        "check": ("tasks", "check", "task"),
        "show": ("tasks", "show", "task"),
        "new": ("tasks", "new", "--type", "ner", "--from", "task/train.jsonl", "--out", "drafted"),
    }
    if (command, damage) == ("new", "long label"):
        pytest.skip("a new task takes the labels of its data, and shows examples")
    ended = call(*words[command], folder=place)
    assert ended.exit_code == 2
    check_silent(place, ended)


@pytest.mark.parametrize("damage", ["not UTF-8", "not JSON", "not an object", "half a character"])
def test_a_damaged_note_is_not_repeated(damage, place, adapted, tiny_llama_folder):
    line = DAMAGES[damage]()
    (place / "bad.jsonl").write_bytes(line if isinstance(line, bytes) else line.encode())
    on = ("--backbone", tiny_llama_folder, "--device", "cpu")
    ended = call("predict", "run/store/mine", "bad.jsonl", "out.jsonl", *on, folder=place)
    assert ended.exit_code == 2
    (place / "bad.jsonl").unlink()
    check_silent(place, ended)


def test_notes_that_are_too_long_are_not_repeated(place, tiny_llama_folder):
    write(
        place / "task" / "train.jsonl",
        [row(n, text=f"Takes aspirin. {MARK} " * 900) for n in (1, 2)],
    )
    for more in ("data.max_input_tokens=20", "data.long_inputs=split"):
        ended = call(
            *words_of(place, tiny_llama_folder, "--set", more, "--set", "adapt.steps=1"),
            folder=place,
        )
        check_silent(place, ended)


def test_a_loss_that_is_no_number_is_said_without_text(place, tiny_llama_folder):
    rates = ("--set", "adapt.shared_rate=1e30", "--set", "adapt.factor_rate=1e30")
    ended = call(*words_of(place, tiny_llama_folder, *rates), folder=place)
    assert ended.exit_code == 2
    assert "lower the learning rate" in ended.stderr
    check_silent(place, ended)


def broken(*_, **__):
    raise ValueError(f"a mistake of ours with {MARK}")


def full(*_, **__):
    raise OSError(28, "No space left on device")


SEAMS = {
    "training": "clinprompt.training.loop._Trainer.clip",
    "saving": "clinprompt.prompts.store.save_artifact",
    "logging": "clinprompt.training.runlog.RunLog.add_all",
}


@pytest.mark.parametrize("fails", [broken, KeyError(MARK), KeyboardInterrupt(MARK)])
@pytest.mark.parametrize("seam", SEAMS)
def test_the_message_of_a_mistake_of_ours_is_not_shown(
    seam, fails, place, tiny_llama_folder, monkeypatch
):
    def fail(*_, **__):
        if callable(fails):
            fails()
        raise fails

    monkeypatch.setattr(SEAMS[seam], fail)
    ended = call(*words_of(place, tiny_llama_folder), folder=place)
    check_silent(place, ended)
    if isinstance(fails, KeyboardInterrupt):
        assert ended.exit_code == 130
        return
    assert ended.exit_code == 1
    kind = "KeyError" if isinstance(fails, KeyError) else "ValueError"
    words = f"error: clinprompt failed: {kind} in test_no_leak_in_runs.py, "
    assert words in ended.stderr
    assert "in main" in ended.stderr  # the lines of code that led to it


def test_the_message_is_shown_to_who_asks_for_it(place, tiny_llama_folder, monkeypatch):
    monkeypatch.setattr(SEAMS["training"], broken)
    monkeypatch.setenv("CLINPROMPT_TRACEBACK", "1")
    with pytest.raises(ValueError, match=MARK):
        call(*words_of(place, tiny_llama_folder), folder=place)


def test_a_full_disk_is_said_without_text(place, tiny_llama_folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ended = call(*words_of(place, tiny_llama_folder), folder=place)
    assert ended.exit_code == 2
    assert "could not be written" in ended.stderr
    assert MARK not in ended.stdout + ended.stderr
    assert files_with_mark(place) == set()


@pytest.fixture
def ctrl_c():
    """Let processes be interrupted also if the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_a_run_that_is_ended_from_outside_leaves_no_text(number, place, tiny_llama_folder):
    """SIGABRT is what a crash of native code looks like; the others are requests to stop."""
    words = words_of(place, tiny_llama_folder, "--set", "adapt.steps=100000")
    python = [sys.executable, "-X", "faulthandler", "-c", "from clinprompt.cli import main; main()"]
    started = subprocess.Popen(
        [*python, *map(str, words)],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"},
    )
    deadline = time.monotonic() + 300
    log = Path(place / "run" / "metrics.jsonl")
    with started as run:
        try:
            while not (log.is_file() and log.stat().st_size > 200):
                assert run.poll() is None, run.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            run.send_signal(number)
            stdout, stderr = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode != 0
    assert MARK.encode() not in stdout + stderr
    assert files_with_mark(place) == set()
