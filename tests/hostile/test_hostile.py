"""No input of others is an error of ours, slow, large, or reaches a file outside of its folder.

`make test-hostile` tries a million; these are a few of each.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from attack import API, input_of, opened_surfaces, place_for_inputs, try_one
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_surfaces import every_header_byte, prompt_surfaces
from surfaces import READERS, TEXTS
from watched import CANARY, OUTSIDE, watch

from clinprompt.errors import DataError

PROMPTS = prompt_surfaces()
SURFACES = {**READERS, **TEXTS, **PROMPTS}


@pytest.fixture(scope="module")
def folder():
    with place_for_inputs() as found:
        yield found


@pytest.mark.parametrize("name", sorted(SURFACES.keys() - {"archive"}))
def test_right_input_is_read(folder, name):
    outcome = try_one(SURFACES[name], SURFACES[name].right[0], folder)
    assert (outcome.fault, outcome.is_refused) == ("", False)


@pytest.mark.parametrize("name", SURFACES)
@given(number=st.integers(0, 2**32))
@settings(max_examples=12)
def test_hostile_input_is_read_or_refused_by_name(folder, name, number):
    content = input_of(SURFACES[name], name, number, seed=0)
    assert try_one(SURFACES[name], content, folder).fault == ""


@pytest.mark.parametrize("kind", ["prompt", "factors", "metaprompt"])
def test_each_flipped_byte_of_a_header_is_refused(folder, kind):
    """A byte of the names or places of tensors changes what is read: none may go unnoticed."""
    surface = PROMPTS[f"tensors of {kind}"]
    (content,) = surface.right
    for damaged in every_header_byte(content):
        outcome = try_one(surface, damaged, folder)
        assert (outcome.fault, outcome.is_refused) == ("", True)


@pytest.mark.slow
def test_hostile_bodies_are_no_errors_of_the_server():
    with opened_surfaces(API) as surfaces, place_for_inputs() as folder:
        for number in range(200):
            content = input_of(surfaces[API], API, number, seed=0)
            assert try_one(surfaces[API], content, folder).fault == "", content[:200]


@pytest.mark.slow
def test_the_command_prints_what_it_tried(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("attack.py"))]
    words = ["--inputs", "40", "--only", "suite", "--processes", "1", "--faults", str(tmp_path)]
    ended = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[-1][:20]) == (0, "40 inputs, 0 faults,")


def _slow():
    while True:
        pass


FAULTS = {
    "ValueError": lambda _: int("x"),
    "TooSlow": lambda _: _slow(),
    "MemoryError": lambda _: bytearray(2 << 30),
    "opened for writing outside": lambda folder: (folder.parent / "x").write_text("x"),
    "os.mkdir outside": lambda folder: (folder.parent / "y").mkdir(),
    "reads a file outside": lambda folder: (folder.parent / OUTSIDE / "a.csv").read_text(),
    "shows the text": lambda _: f"note: {CANARY}",
    "subprocess.Popen": lambda _: subprocess.run(["true"], check=True),
    "socket.getaddrinfo": lambda _: socket.getaddrinfo("localhost", 80),
}


@pytest.mark.parametrize("says", FAULTS)
def test_what_no_input_may_do_is_noticed(folder, says):
    outcome = watch(lambda: FAULTS[says](folder), folder, seconds=0.3)
    assert says in outcome.fault


def test_text_of_a_record_in_an_error_is_noticed(folder):
    def show():
        raise DataError("record: zebrafish")

    assert "shows text of a record" in watch(show, folder, secret="zebrafish").fault
    assert watch(show, folder, secret="other").fault == ""
