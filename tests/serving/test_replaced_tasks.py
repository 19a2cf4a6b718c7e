"""Tasks are replaced, removed and damaged on the disk while the server runs."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from made_server import held, running, wait_until
from made_store import TASKS, save_prompt, save_store

from clinprompt.jobs.annotate import prompt_on
from clinprompt.tasks.records import Record

TASK = "practice-sum-plan"
TEXT = "Reports chest pain. Started lisinopril 10 mg."
BODY = {"model": TASK, "prompt": TEXT}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def own(tmp_path, tiny_llama, tiny_llama_folder):
    store = save_store(tmp_path / "store", tiny_llama_folder)
    with running(tiny_llama, store) as found:
        yield found


def offline(server, backbone):
    loaded = prompt_on(backbone, server.store / TASK)
    [prediction] = loaded.annotate([Record("x", {"text": TEXT})])
    return prediction.text


def answer(server):
    given = server.client.post("/v1/completions", json=BODY)
    assert given.status_code == 200, given.text
    return given.json()["choices"][0]["text"]


def reload(server):
    return server.client.post("/v1/tasks/reload", headers=JSON)


def replace_task(server, model):
    shutil.rmtree(server.store / TASK)
    save_prompt(server.store, model, TASK, placement="prefix", length=6, seed=99)


def test_running_questions_end_with_the_old_prompt_and_new_ones_get_the_new(
    own, tiny_llama, tiny_llama_folder
):
    old, entered, release = offline(own, tiny_llama), Event(), Event()
    step = own.state.engine._scheduler.step

    def held_in_the_middle():
        if own.state.engine.num_tokens_written == 5:
            entered.set()
            assert release.wait(60)
        return step()

    own.state.engine._scheduler.step = held_in_the_middle
    with ThreadPoolExecutor(3) as pool:
        half_written = pool.submit(answer, own)
        assert entered.wait(60)
        waiting = pool.submit(answer, own)
        wait_until(lambda: own.state.engine.num_rows == 2)
        replace_task(own, tiny_llama_folder)
        new = offline(own, tiny_llama)
        assert old != new
        reloaded = pool.submit(reload, own)
        release.set()
        assert reloaded.result().status_code == 200
        after = [answer(own) for _ in range(2)]
        assert half_written.result() == old
        assert waiting.result() == old
        assert after == [new, new]


def test_a_question_that_waits_keeps_the_prompt_of_the_moment_it_arrived(
    own, tiny_llama, tiny_llama_folder
):
    old = offline(own, tiny_llama)
    with ThreadPoolExecutor(2) as pool:
        with held(own):
            waiting = pool.submit(answer, own)
            wait_until(lambda: own.state.engine.num_rows == 1)
            replace_task(own, tiny_llama_folder)
            reloaded = pool.submit(reload, own)
        assert reloaded.result().status_code == 200
        assert waiting.result() == old
    assert answer(own) == offline(own, tiny_llama) != old


def test_a_removed_task_is_unknown_and_an_added_one_is_answered(own, tiny_llama_folder):
    shutil.move(own.store / TASK, own.store.parent / "away")
    assert own.client.post("/v1/completions", json=BODY).status_code == 200  # before the reload
    names = [one["name"] for one in reload(own).json()]
    assert sorted(names) == sorted(set(TASKS) - {TASK})
    gone = own.client.post("/v1/completions", json=BODY)
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "unknown_task"
    assert own.client.get(f"/v1/models/{TASK}").status_code == 404
    save_prompt(own.store, tiny_llama_folder, TASK, name="another")
    assert reload(own).status_code == 200
    assert own.client.post("/v1/completions", json={**BODY, "model": "another"}).status_code == 200


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def change(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)


DAMAGES = {
    "tensors cut": lambda folder: cut(next(folder.glob("*.safetensors"))),
    "tensors changed": lambda folder: change(next(folder.glob("*.safetensors"))),
    "tensors empty": lambda folder: next(folder.glob("*.safetensors")).write_bytes(b""),
    "no tensors": lambda folder: next(folder.glob("*.safetensors")).unlink(),
    "broken manifest": lambda folder: (folder / "manifest.json").write_text("{"),
    "other manifest": lambda folder: (folder / "manifest.json").write_text('{"kind": "prompt"}'),
    "list as manifest": lambda folder: (folder / "manifest.json").write_text("[]"),
    "no text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "all gone": lambda folder: shutil.rmtree(folder.parent),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, tiny_llama, tiny_llama_folder):
    store = save_store(tmp_path_factory.mktemp("damaged") / "store", tiny_llama_folder)
    with running(tiny_llama, store) as found:
        yield found


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_refused_and_the_tasks_stay(damaged, damage, tmp_path):
    before = answer(damaged)
    shutil.copytree(damaged.store, tmp_path / "copy")
    DAMAGES[damage](damaged.store / TASK)
    refused = reload(damaged)
    shutil.rmtree(damaged.store, ignore_errors=True)
    shutil.copytree(tmp_path / "copy", damaged.store)
    assert refused.status_code == 409, refused.text
    error = refused.json()["error"]
    assert error["code"] == "store_not_valid"
    assert error["message"].endswith("; the tasks are as before")
    assert answer(damaged) == before
    assert reload(damaged).status_code == 200


def test_a_prompt_of_another_backbone_is_refused(damaged, tiny_gpt_oss_folder):
    save_prompt(damaged.store, tiny_gpt_oss_folder, TASK, name="foreign")
    refused = reload(damaged)
    shutil.rmtree(damaged.store / "foreign")
    assert refused.status_code == 409
    assert "backbone" in refused.json()["error"]["message"]
    assert damaged.client.get("/v1/models/foreign").status_code == 404
