"""Which worker of Ray gets which chunk: with a fake Ray, whose workers end and fail at will."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clinprompt.errors import ArtifactError, RunError, SettingError
from clinprompt.jobs.batch import ray_engine as engine
from clinprompt.jobs.batch.ray_cluster import share_of_worker
from clinprompt.jobs.batch.run import Batch, BatchRequest
from clinprompt.jobs.note_files import InputDigest


class EndedError(Exception):
    """A worker's process has ended."""


class FakeRay:
    """A Ray that answers in the order of the calls. ``outcomes`` of a chunk are used up in turn."""

    exceptions = SimpleNamespace(RayActorError=EndedError)

    def __init__(self, outcomes=None):
        self.outcomes = {chunk: list(own) for chunk, own in (outcomes or {}).items()}
        self.started, self.asked, self.in_flight, self.most = 0, [], 0, 0

    def remote(self, **_share):
        return lambda _class: SimpleNamespace(remote=self.start)

    def start(self, _batch, _folder):
        self.started += 1
        number = self.started
        return SimpleNamespace(
            load=SimpleNamespace(remote=lambda: (number, engine._LOADING)),
            answer=SimpleNamespace(remote=lambda chunk, waits: self.ask(number, chunk, waits)),
        )

    def ask(self, number, chunk, waits):
        self.asked.append((number, chunk, waits))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        return number, chunk

    def wait(self, references, *, num_returns):
        assert num_returns == 1
        return references[:1], references[1:]

    def get(self, reference):
        _, chunk = reference
        self.in_flight -= chunk != engine._LOADING
        outcome = (self.outcomes.get(chunk) or [True]).pop(0)
        if outcome is EndedError:
            raise EndedError
        return outcome


class Said:
    def __init__(self):
        self.done, self.said = 0, []

    def advance(self, count, /):
        self.done += count

    def say(self, message):
        self.said.append(message)


def request_of(**values):
    return BatchRequest(store=Path("s"), output=Path("o"), **{"notes": Path("n"), **values})


def batch_of(num_chunks):
    request = request_of(notes_per_chunk=2)
    digest = InputDigest(0, "", 2 * num_chunks)
    return Batch(request, digest, folder=None, cards={"a": None, "b": None}, progress=Said())


def crew_of(ray, batch, number=2):
    crew = engine._Crew(ray, batch, {})
    crew.hire(number)
    return crew


def test_each_worker_has_one_chunk_at_a_time_and_all_are_counted():
    ray, batch = FakeRay(), batch_of(7)
    assert crew_of(ray, batch).answer(range(7), waits=False) == []
    assert sorted(chunk for _, chunk, _ in ray.asked) == list(range(7))
    assert ray.most == 2
    assert batch.counted == set(range(7))
    assert batch.progress.done == 7 * 2 * 2


def test_the_chunk_of_a_worker_that_ended_goes_to_another_before_later_chunks():
    ray, batch = FakeRay({1: [EndedError]}), batch_of(4)
    crew_of(ray, batch).answer(range(4), waits=False)
    workers = [number for number, chunk, _ in ray.asked if chunk == 1]
    assert len(workers) == len(set(workers)) == 2
    assert [chunk for _, chunk, _ in ray.asked].index(3) > 2
    assert ray.started == 3
    assert batch.progress.done == 4 * 2 * 2


def test_chunks_that_other_processes_hold_are_returned_and_waited_for_at_the_end():
    ray, batch = FakeRay({0: [False]}), batch_of(3)
    crew = crew_of(ray, batch)
    held = crew.answer(range(3), waits=False)
    assert held == [0]
    assert crew.answer(held, waits=True) == []
    assert ray.asked[-1][1:] == (0, True)
    assert batch.counted == {0, 1, 2}


@pytest.mark.parametrize(("chunk", "what"), [(1, "chunk 2"), (engine._LOADING, "loading")])
def test_three_workers_that_end_on_one_chunk_are_an_error(chunk, what):
    ray = FakeRay({chunk: [EndedError] * 4})
    with pytest.raises(RunError, match=f"3 workers ended during {what}"):
        crew_of(ray, batch_of(3)).answer(range(3), waits=False)


def test_the_mistake_of_a_user_is_raised_as_it_is():
    error = ArtifactError("the prompt is damaged")
    with pytest.raises(ArtifactError) as raised:
        crew_of(FakeRay({engine._LOADING: [error]}), batch_of(3)).answer(range(3), waits=False)
    assert raised.value is error


def test_another_error_in_a_worker_is_shown_without_its_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batch = batch_of(3)
    worker, text = engine.ChunkWorker(batch, str(tmp_path)), "SECRET"
    monkeypatch.setattr(worker, "_notes_of", lambda _: int(text))
    failure = worker.answer(0, False)
    assert "ValueError" in failure.place
    with pytest.raises(RuntimeError, match="a worker failed: ValueError"):
        crew_of(FakeRay({0: [failure]}), batch).answer(range(3), waits=False)
    assert "test_ray_crew.py" in batch.progress.said[0]
    assert "SECRET" not in f"{failure}{batch.progress.said}"


def test_a_worker_reads_on_and_goes_back_for_an_earlier_chunk(tmp_path):
    notes = tmp_path / "notes.jsonl"
    notes.write_text("".join(f'{{"text": "{number}"}}\n' for number in range(7)))
    request = request_of(notes=notes, notes_per_chunk=2)
    batch = Batch(request, InputDigest(0, "", 7), folder=None, cards={}, progress=Said())
    worker = engine.ChunkWorker(batch, ".")
    for chunk in (0, 2, 1, 1, 3):
        found = [note.read().text for note in worker._notes_of(chunk)]
        assert found == [str(number) for number in range(7)][2 * chunk : 2 * chunk + 2]


@pytest.mark.parametrize(
    ("resources", "num_workers", "device", "is_own", "expected"),
    [
        ({"CPU": 8}, 2, "auto", True, {"num_cpus": 4, "num_gpus": 0}),
        ({"CPU": 8}, 3, "auto", False, {"num_cpus": 1, "num_gpus": 0}),
        ({"CPU": 8, "GPU": 2}, 2, "auto", True, {"num_cpus": 4, "num_gpus": 1}),
        ({"CPU": 8, "GPU": 2}, 3, "cuda", True, {"num_cpus": 2, "num_gpus": 0.5}),
        ({"CPU": 8, "GPU": 2}, 1, "cuda", False, {"num_cpus": 1, "num_gpus": 1}),
        ({"CPU": 8, "GPU": 2}, 2, "cpu", True, {"num_cpus": 4, "num_gpus": 0}),
    ],
)
def test_workers_share_processors_and_gpus(resources, num_workers, device, is_own, expected):
    ray = SimpleNamespace(cluster_resources=lambda: resources)
    assert share_of_worker(ray, num_workers, device, is_own=is_own) == expected


def test_without_ray_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"pip install '\.\[scale\]'"):
        engine.ray_engine()


def test_a_numbered_gpu_is_refused():
    batch = batch_of(1)
    batch.request = request_of(device="cuda:1")
    with pytest.raises(SettingError, match="use --device cuda"):
        engine._answer(batch, num_workers=1, address="")
