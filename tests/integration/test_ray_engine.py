"""Two workers of Ray answer a batch as one process does, although one is killed in the middle."""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from made_store import TASKS, save_store
from ray_batch import PLANTED

from clinprompt.jobs.batch.run import BatchRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is missing: pip install '.[scale]'"),
]
DOES_NOT_START = "Ray did not start"
NUM_NOTES, NOTES_PER_CHUNK = 60, 6
SCRIPT = Path(__file__).parents[1] / "ray_batch.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ray")


def answered_in_a_process(pickled, temporary):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": temporary}
    command = [sys.executable, str(SCRIPT), str(pickled)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=500
    )


@pytest.fixture(scope="module")
def seen(folder, tiny_llama_folder):
    """Return what was seen while a batch was answered plainly and by Ray."""
    notes = folder / "notes.jsonl"
    words = [f"{PLANTED} {number}: stopped metformin 500mg, reports" for number in range(NUM_NOTES)]
    values = [{"text": f"{one} cough.", "statement": f"{PLANTED} takes iron."} for one in words]
    lines = [json.dumps(one) for one in values]
    lines[7] = f'{{"text": "{PLANTED}'  # not JSON
    notes.write_text("".join(line + "\n" for line in lines))
    request = BatchRequest(
        store=save_store(folder / "store", tiny_llama_folder, tasks=TASKS[:3]),
        notes=notes,
        output=folder / "out",
        tasks=(TASKS[0], TASKS[2]),
        backbone=str(tiny_llama_folder),
        device="cpu",
        notes_per_chunk=NOTES_PER_CHUNK,
    )
    pickled = folder / "request"
    pickled.write_bytes(pickle.dumps(request))
    with TemporaryDirectory(prefix="cp", dir="/tmp") as short:  # Ray's sockets need a short name
        for _ in range(3):  # a busy machine may be too slow for Ray, which gives up after 30 s
            ended = answered_in_a_process(pickled, short)
            if DOES_NOT_START not in ended.stderr:
                break
        else:
            pytest.skip(f"Ray does not start here: {ended.stderr[-300:]}")
        left = [path.name for path in Path(short).iterdir()]
    assert ended.returncode == 0, ended.stderr
    return {**json.loads(ended.stdout.splitlines()[-1]), "left": left}


def test_the_answers_are_those_of_the_plain_engine_although_a_worker_was_killed(seen, folder):
    assert len(seen["killed"]) == 1
    assert set(seen["workers"]) > set(seen["killed"])  # the new worker may come too late
    assert seen["is_complete"]
    plain, by_ray = (folder / "out" / name / "answers.jsonl" for name in ("plain", "ray"))
    assert by_ray.read_bytes() == plain.read_bytes()
    rows = [json.loads(line) for line in by_ray.read_text().splitlines()]
    times = Counter((row["line"], row.get("task")) for row in rows)
    assert len(times) == 2 * NUM_NOTES - 1  # of the note that is not JSON there is one row
    assert set(times.values()) == {1}
    assert seen["num_errors"] == 1


def test_no_text_of_a_note_is_in_the_files_of_ray_which_are_private_and_removed(seen):
    assert seen["logs"] > 5
    assert seen["planted"] == []
    assert seen["mode"] == 0o700
    assert not Path(seen["folder"]).exists()
    assert seen["left"] == []


def test_ray_listens_and_connects_on_this_machine_only(seen):
    local = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert seen["addresses"]
    assert set(seen["addresses"]) <= local
