"""The fault loop finds what is lost, and a sample of its points loses nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_PATH = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

_CARELESS = """
import sys
from pathlib import Path
from clinprompt.files import write_text
from trials import Point, Trials, Workload

def careless(folder):
    folder.mkdir(exist_ok=True)
    path = folder / "a.txt"
    if not path.exists():
        path.write_text("0123456789")

def careful(folder):
    if not (folder / "a.txt").exists():
        write_text(folder / "a.txt", "0123456789")

def confused(folder):
    try:
        write_text(folder / "a.txt", "0123456789")
    except Exception as error:
        raise KeyError from error

for work in (careless, careful, confused):
    trials = Trials(Workload(work), Path(sys.argv[1]) / work.__name__)
    for fault in ("kill", "full", "broken"):
        points = [Point("a", fault, at) for at in range(1, len(trials.names) + 1)]
        verdicts = [trials.verdict(point).lost.partition("\\n")[0] for point in points]
        print(work.__name__, fault, *sorted({one for one in verdicts if one}), sep="; ")
"""


def printed(*words):
    """Return what Python prints; it starts in a process of its own, which may fork."""
    environment = {**os.environ, "PYTHONPATH": _PATH, "CLINPROMPT_CACHE": ""}
    command = [sys.executable, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_loop_finds_what_careless_code_loses(tmp_path):
    found = printed("-c", _CARELESS, tmp_path).splitlines()
    assert found == [
        "careless; kill; a.txt is another",
        "careless; full; the fault ended the process with 4",
        "careless; broken; the fault ended the process with 4",
        "careful; kill",
        "careful; full",
        "careful; broken",
        "confused; kill",
        "confused; full; the fault ended the process with 4",
        "confused; broken; the fault ended the process with 4",
    ]


@pytest.mark.slow
def test_a_sample_of_faults_loses_nothing():
    words = ("adapt-again-without-exchange", "corrections", "--points", 2)
    *_, last = printed(HERE / "run.py", *words).splitlines()
    assert last == "12 points tried, 0 lost"
