"""What is said before an adaptation runs is what the adaptation then does."""

import json

import pytest
from made_metaprompt import save_metaprompt

from clinprompt import api
from clinprompt.backbone import memory
from clinprompt.errors import SettingError
from clinprompt.jobs.adapt_settings import adapt_config
from clinprompt.jobs.before_adapting import adaptation_bytes, untrained_prompt, usable_rows
from clinprompt.prompts.artifact import load_artifact
from clinprompt.serving.teaching.new_card import NewTask, card_text
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import read_card


def task_in(folder):
    """Make the folder of a task with one record; return it."""
    folder.mkdir()
    (folder / "card.toml").write_text(card_text(NewTask("mine", "ner", (("DRUG", ""),))))
    line = {"id": "1", "text": "Takes aspirin.", "entities": [[6, 13, "DRUG"]]}
    (folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_the_start_of_a_task_is_what_adapt_saves_without_examples(
    tmp_path, tiny_llama, tiny_llama_folder
):
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder))
    changes = [f"backbone={tiny_llama_folder}", "device=cpu"]
    task = task_in(tmp_path / "mine")
    saved = api.adapt(
        task, shots=0, metaprompt=metaprompt, folder=tmp_path / "run", settings=changes
    )
    config = adapt_config(metaprompt, changes)
    made = untrained_prompt(tiny_llama, read_card(task / "card.toml"), config)
    expected = load_artifact(saved.folder).manifest
    own = made.manifest
    assert own.content_hash == expected.content_hash
    assert (own.name, own.method, own.shots) == (expected.name, expected.method, 0)
    assert own.settings == expected.settings


def test_the_steps_are_those_for_the_number_of_rows(tmp_path, tiny_llama, tiny_llama_folder):
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder))
    changes = [f"backbone={tiny_llama_folder}", "adapt.steps=7", "at_shots.1.adapt.steps=3"]
    config = adapt_config(metaprompt, changes)
    card = read_card(task_in(tmp_path / "mine") / "card.toml")
    assert usable_rows(tiny_llama, card, config).steps == 3
    several = config.model_copy(update={"at_shots": {"2": config.at_shots["1"]}})
    assert usable_rows(tiny_llama, card, several).steps == 7


def test_a_config_changes_what_it_sets_and_leaves_the_rest_to_the_metaprompt(
    tmp_path, tiny_llama_folder
):
    own = {"steps": 7, "rows": 3}
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder, adapt=own))
    given = check_config({"name": "mine", "adapt": {"rows": 5}}, source="test")
    found = adapt_config(metaprompt, given)
    assert (found.name, found.adapt.steps, found.adapt.rows) == ("mine", 7, 5)
    assert found.metaprompt == metaprompt


@pytest.mark.parametrize("name", ["shipped", "another"])
def test_another_metaprompt_among_the_settings_is_refused(tmp_path, tiny_llama_folder, name):
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder))
    with pytest.raises(SettingError, match=f"metaprompt = '{name}' is not the one .*--metaprompt"):
        adapt_config(metaprompt, {"metaprompt": name})
    assert adapt_config(metaprompt, {"metaprompt": metaprompt}).metaprompt == metaprompt


def test_a_shape_that_the_metaprompt_does_not_have_is_refused(tmp_path, tiny_llama_folder):
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder))
    changes = {"backbone": str(tiny_llama_folder), "prompt.length": 9}
    with pytest.raises(SettingError, match=r"prompt.length = 9, but the metaprompt .* has 4"):
        api.adapt(
            task_in(tmp_path / "mine"),
            shots=0,
            metaprompt=metaprompt,
            folder=tmp_path / "run",
            settings=changes,
        )


def test_the_estimate_of_memory_has_the_weights_and_the_programs(tmp_path, tiny_llama_folder):
    metaprompt = str(save_metaprompt(tmp_path / "m", tiny_llama_folder))
    config = adapt_config(metaprompt, [f"backbone={tiny_llama_folder}"])
    assert 500 << 20 < adaptation_bytes(config) < 600 << 20


def test_free_memory_is_the_least_of_the_machine_and_its_container(
    tmp_path, monkeypatch, tiny_llama
):
    def says(free, limit="max", used="anon 300\nunevictable 100\nfile 999\n"):
        for name, text in (("_FREE", free), ("_LIMIT", limit), ("_USED", used)):
            path = tmp_path / name
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
            monkeypatch.setattr(memory, name, path)
        return memory.free_bytes(tiny_llama.device)

    machine = "MemTotal: 9 kB\nMemAvailable:       2 kB\n"
    assert says(machine) == 2048
    assert says(machine, limit="1000\n") == 600
    assert says(machine, limit="9000\n") == 2048
    assert says(None, limit=None) is None
