"""Benches run, and the documents show what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_store import save_store

from clinprompt.tasks.records import Record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_bench_for_a_gpu_runs_from_start_to_end_at_tiny_shapes(tmp_path):
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), str(tmp_path), "--tiny"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    for name in ("Llama 3.1 8B", "gpt-oss 20B"):
        assert found[name]["PEFT, multitask prompt tuning"]["ratio"] > 0
        assert 0 < found[name]["share of the limit"] < 1
    assert found["SmolLM2-135M"]["tokens a second"] > 0


def test_page_on_performance_shows_the_committed_results(benches):
    from run import BEGIN, END, PAGES, RESULTS, inserted  # noqa: PLC0415

    page = PAGES["bench"].read_text(encoding="utf-8")
    known = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
    assert page.split(BEGIN)[1].split(END)[0].strip() == inserted(known)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks_each", "others"),
    [(1, ("practice-nli-history", "practice-qa-choice")), (2, ("practice-ner-problems",))],
)
def test_bench_of_the_server_finds_every_answer_as_offline(
    benches, tmp_path, tiny_llama_folder, tasks_each, others
):
    import serve  # noqa: PLC0415

    tasks = ("practice-ner-drugs", *others)
    store = save_store(
        tmp_path / "store", tiny_llama_folder, tasks=tasks, placements=("layers",) * 3
    )
    found = serve.measure(
        store, requests=12, clients=4, tasks_each=tasks_each, model=str(tiny_llama_folder)
    )
    assert (found["errors"], found["swapped answers"]) == (0, 0)
    assert (found["tasks"], found["tasks a request"]) == (len(tasks), tasks_each)
    assert found["answers"] == 24  # of 4 and of 64 clients
    assert found["same as offline"] + found["different, with a tie of logits"] == 24
    assert [row["requests"] for row in found["ways to answer"]] == [12, 12, 12, 4]
    assert all(row["errors"] == 0 for row in found["rising load"])


@pytest.mark.slow
def test_server_is_asked_twice_its_capacity_by_clients_of_all_kinds(
    benches, tmp_path, tiny_llama_folder
):
    import serve_load  # noqa: PLC0415

    store = save_store(tmp_path / "store", tiny_llama_folder, tasks=("practice-ner-drugs",))
    found = serve_load.measure(
        store, minutes=0.15, requests=12, model=str(tiny_llama_folder), seconds=10
    )
    assert serve_load.broken({**found, "growth": 0.0}) == []  # memory grows while it warms up
    assert found["statuses"]["200"] > 10
    assert found["clients that left"] > 0
    assert sum(found["clients that stalled"].values()) > 0
    assert sum(found["garbage"].values()) > 0


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("statuses", {"200": 5, "500": 1}, "behaves got an undocumented status"),
        ("garbage", {"422": 5, "500": 1}, "garbage got an undocumented status"),
        ("different", 1, "differ from the offline ones"),
        ("growth", 0.06, "memory grew"),
        ("rows at the end", 1.0, "rows stay in the queue"),
    ],
)
def test_a_broken_promise_of_the_server_is_named(benches, what, value, said):
    from serve_load import broken  # noqa: PLC0415

    kept = {
        "statuses": {"200": 5},
        "garbage": {"422": 5},
        "clients that stalled": {"408": 1},
        **dict.fromkeys(("different", "swapped", "growth", "rows at the end", "failures"), 0),
        **dict.fromkeys(("open files before", "open files at the end"), 20),
    }
    assert broken(kept) == []
    [found] = broken({**kept, what: value})
    assert said in found


def test_bench_of_the_server_recognizes_swapped_answers(benches):
    from serve_requests import Answered, Asked, is_same, is_swapped  # noqa: PLC0415

    note = Record("mk00001", {"text": "Takes mk00001."})
    asked = Asked("mk00001", ("drugs",), note)

    def mention(text, start):
        return {"start": start, "end": start + 7, "text": text, "probability": 0.5}

    def response(marker, *mentions, task="drugs"):
        return {"id": marker, "answers": [{"task": task, "entities": list(mentions)}]}

    right = response("mk00001", mention("mk00001", 6))
    expected = Answered(right["answers"], [[3]], 5)
    assert not is_swapped(asked, right, expected)
    for wrong in (
        response("mk00002", mention("mk00001", 6)),
        response("mk00001", mention("mk00001", 6), task="doses"),
        response("mk00001", mention("mk00002", 6)),
        response("mk00001", mention("mk00001", 5)),
    ):
        assert is_swapped(asked, wrong, expected)
    rounded, less_likely = ({**mention("mk00001", 6), "probability": p} for p in (0.5001, 0.4))
    assert is_same(response("", rounded)["answers"], expected)
    assert not is_swapped(asked, response("mk00001", rounded), expected)
    assert is_swapped(asked, response("mk00001", less_likely), expected)
    assert not is_same(response("")["answers"], expected)


def test_types_of_weights_are_compared_turn_by_turn(benches):
    """Each turn of the first work is compared with the same turn of the others."""
    from dtypes import compared  # noqa: PLC0415

    seconds = {"float32": [2.0, 4.0, 8.0], "other": [1.0, 1.0, 6.0]}
    first, other = compared(seconds, tokens=8)
    assert (first["tokens a second"], first["ratio of seconds"]) == (2.0, 1.0)
    assert (other["tokens a second"], other["ratio of seconds"]) == (8.0, 0.5)


def test_types_of_weights_read_and_write_the_same_rows(benches, tiny_llama):
    import dtypes  # noqa: PLC0415

    rows = dtypes.make_rows(tiny_llama, 3)
    assert [len(row.input_ids) for row in rows] == [dtypes.ROW_TOKENS] * 3
    hidden, _ = dtypes.reader(rows)(tiny_llama)()
    logits = dtypes.writer(rows)(tiny_llama)()
    assert hidden.shape == (3, tiny_llama.hidden_size)
    assert logits.shape == (3, tiny_llama.vocabulary_size)
