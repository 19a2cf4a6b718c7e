"""Where the disk is full for a moment, what was answered counts; what failed can be repeated."""

from functools import partial

import pytest
from made_workspace import drug_in, metaprompt_in, notes_of

from clinprompt.errors import RunError
from clinprompt.jobs.before_adapting import untrained_prompt
from clinprompt.serving.teaching.lines import append_lines, read_lines
from clinprompt.serving.teaching.new_card import NewTask
from clinprompt.serving.teaching.notes import NewNote
from clinprompt.serving.teaching.opening import recipe_of
from clinprompt.serving.teaching.workspace import TaughtTasks

DRUGS = NewTask("drugs", "ner", (("DRUG", ""),))


@pytest.fixture
def start(tmp_path, tiny_llama_folder, tiny_llama):
    """Return the function that makes the prompt a task starts from."""
    metaprompt = metaprompt_in(tmp_path, tiny_llama_folder)
    recipe = recipe_of(str(metaprompt), [f"backbone={tiny_llama_folder}", "device=cpu"])
    return partial(untrained_prompt, tiny_llama, config=recipe.config)


def test_a_task_that_could_not_be_made_can_be_made_again(tmp_path, start):
    calls = []

    def fails_once(card):
        calls.append(card.name)
        if len(calls) == 2:  # the folder of the task is there, its prompt is not
            raise RunError("the disk is full")
        return start(card)

    root = tmp_path / "work"
    tasks = TaughtTasks(root, root / "store", fails_once)
    with pytest.raises(RunError, match="the disk is full"):
        tasks.make(DRUGS, taken=())
    assert not (root / "drugs").exists()
    assert tasks.make(DRUGS, taken=()).prompts.served.version == 0


def test_a_correction_counts_although_its_training_record_cannot_be_written_yet(
    tmp_path, start, caplog
):
    root = tmp_path / "work"
    task = TaughtTasks(root, root / "store", start).make(DRUGS, taken=())
    [note] = notes_of(1)
    task.notes.add([NewNote(note["id"], {"text": note["text"]})])
    choice = task.choose("random", {})
    task.offer(choice, "random", {"entities": []}, digest="", time=0.0)
    task.places.train.unlink()
    task.places.train.mkdir()  # a folder in its place: the file cannot be written
    task.correct(1, drug_in(note), time=1.0)
    assert "could not be written" in caplog.text
    assert task.counts() == {"waiting": 0, "corrected": 1, "skipped": 0}
    task.places.train.rmdir()
    again = TaughtTasks(root, root / "store", start)["drugs"]
    assert [row["id"] for row in read_lines(again.places.train)] == [note["id"]]
    again.undo(time=2.0)
    assert again.counts() == {"waiting": 1, "corrected": 0, "skipped": 0}


def test_several_lines_are_appended_all_or_none(tmp_path, monkeypatch):
    path = tmp_path / "notes.jsonl"
    append_lines(path, [{"a": 1}])
    with path.open("a") as stream:
        stream.write('{"a":')  # a killed process left this

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            append_lines(path, [{"a": 2}, {"a": 3}])
    assert [row["a"] for row in read_lines(path)] == [1]
    append_lines(path, [{"a": 2}, {"a": 3}])
    assert [row["a"] for row in read_lines(path)] == [1, 2, 3]
