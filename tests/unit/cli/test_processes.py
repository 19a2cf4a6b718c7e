"""What only a real process shows: what an import loads, and how a command ends on a signal."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
COMMAND = Path(sys.executable).parent / "clinprompt"


@pytest.mark.parametrize("module", ["torch", "transformers", "scipy", "matplotlib"])
def test_the_command_line_loads_nothing_heavy(module):
    code = f"import sys, clinprompt.cli; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_prints_the_command_that_continues_the_run(tmp_path, tiny_llama_folder):
    """It repeats all settings, without which the folder would refuse the run."""
    settings = [
        f"backbone={tiny_llama_folder}",
        "teacher.steps=100000",
        "data.max_input_tokens=600",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    folder = tmp_path / "run"
    # Tests in the background ignore Ctrl-C, and the child process would inherit that.
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
    typed = shlex.split(complaint[complaint.index("clinprompt quickstart") :])
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


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def number(request):
    """Return a signal, and let it reach new processes also if the tests run under nohup."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_command_that_gets_a_signal_to_end_leaves_no_half_written_folder(tmp_path, number):
    command = [sys.executable, "-c", _MAKES_A_FOLDER_AND_WAITS, "wait", tmp_path / "f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(number)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []
