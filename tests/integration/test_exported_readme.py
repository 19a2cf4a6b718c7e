"""The code in the README of an exported prompt gives the answer that ``predict`` gives."""

import contextlib
import io
import os
import re
import subprocess
import sys

import pytest
from command_line import call
from made_store import save_prompt
from tiny import change_json, random_prompts

from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.errors import ArtifactError
from clinprompt.jobs.annotate import load_prompt
from clinprompt.jobs.export import export_prompt, made_up_record
from clinprompt.prompts.artifact import Manifest, make_artifact, save_artifact
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import catalog, find_card


@pytest.fixture
def saved(tmp_path, tiny_llama, tiny_llama_folder):
    """Return a function that saves a random prompt for a task of the catalog."""

    def save(task="practice-ner-drugs", placement="prefix", form=2):
        vectors = random_prompts(1, 5, seed=3)
        shape = {}
        if placement == "layers":
            vectors = to_layer_prompts(tiny_llama.model, vectors)
            shape = {"num_layers": 2, "num_heads": 2}
        data = DataSettings(input_form=form, max_target_tokens=24)
        manifest = Manifest(
            kind="prompt",
            name=task,
            method="soft-prompt",
            backbone=str(tiny_llama_folder),
            fingerprint=tiny_llama.fingerprint,
            length=5,
            hidden_size=vectors.shape[2],
            placement=placement,
            tasks=(find_card(task).model_dump(mode="json"),),
            settings={"data": data.model_dump(mode="json")},
            **shape,
        )
        save_artifact(tmp_path / "prompt", make_artifact(manifest, {"vectors": vectors[0]}))
        return tmp_path / "prompt"

    return save


def _code_of(adapter):
    [code] = re.findall(r"```python\n(.*?)```", (adapter / "README.md").read_text(), re.DOTALL)
    return code


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # of PEFT
@pytest.mark.parametrize("placement", ["prefix", "layers"])
@pytest.mark.parametrize(
    ("task", "form"),
    [
        ("practice-ner-drugs", 2),
        ("practice-re-dose", 1),
        ("practice-sum-plan", 2),
        ("practice-nli-social", 2),
        ("practice-nli-social", 1),
        ("practice-qa-choice", 1),
    ],
)
def test_the_code_of_the_readme_answers_as_predict_does(
    saved, tmp_path, tiny_llama_folder, task, form, placement
):
    prompt = saved(task, placement, form)
    adapter = tmp_path / "adapter"
    ended = call("prompts", "export", prompt, adapter, "--base", "some/model")
    assert ended.exit_code == 0, ended.stderr
    code = _code_of(adapter)
    assert f"LOCAL = os.path.expanduser({str(tiny_llama_folder)!r})" in code
    loaded = load_prompt(prompt, device="cpu", free=True)
    record = made_up_record(loaded.card)
    [expected] = loaded.annotate([record])
    names = {}
    with contextlib.chdir(adapter), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), names)
    assert expected.text
    assert printed.getvalue() == expected.text + "\n"
    row = loaded.encoder().encode(expected.example)
    assert tuple(names["ids"][0].tolist()) == row.input_ids


_WITHOUT_NETWORK = """\
import socket

def refuse(*_, **__):
    raise AssertionError("the code needs the network")

socket.socket.connect = socket.getaddrinfo = refuse
"""


def test_the_code_of_the_readme_needs_no_network_where_it_was_written(saved, tmp_path):
    prompt, adapter = saved("practice-nli-social"), tmp_path / "adapter"
    assert call("prompts", "export", prompt, adapter, "--base", "some/model").exit_code == 0
    code = _code_of(adapter)
    (tmp_path / "run.py").write_text(_WITHOUT_NETWORK + code)
    online = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    ended = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        cwd=adapter,
        env=online,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    loaded = load_prompt(prompt, device="cpu")
    [expected] = loaded.annotate([made_up_record(loaded.card)])
    assert ended.stdout == f"{expected.text}\n"


def test_the_code_of_the_readme_loads_the_model_by_its_name_elsewhere(
    saved, tmp_path, tiny_llama_folder, monkeypatch
):
    monkeypatch.setenv("HOME", str(tiny_llama_folder.parent))
    export_prompt(saved(), tmp_path / "adapter", base="some/model")
    start = _code_of(tmp_path / "adapter").partition("tokenizer =")[0]
    assert f"os.path.expanduser('~/{tiny_llama_folder.name}')" in start
    names = {}
    exec(compile(start, "README.md", "exec"), names)
    assert names["BASE"] == str(tiny_llama_folder)
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    exec(compile(start, "README.md", "exec"), names)
    assert names["BASE"] == "some/model"


def test_the_readme_says_how_to_work_without_a_network(saved, tmp_path, tiny_llama_folder):
    prompt = saved()
    change_json(prompt / "manifest.json", name="my-task/adapted-metaprompt-k16-9a8a13b036cd3a3a")
    ended = call("prompts", "export", prompt, tmp_path / "adapter", "--base", "some/model")
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert text.startswith("# my-task/adapted-metaprompt-k16\n")
    assert "If that folder exists, the code\nneeds no network" in text
    assert "hf download some/model --local-dir" in text
    shown = "".join(ended.stdout.split("\n"))
    assert f"Folder of its model, LOCAL in the README: {tiny_llama_folder}" in shown


def test_every_task_of_the_catalog_has_a_made_up_record():
    for card in map(find_card, catalog()):
        record = made_up_record(card)
        assert all(record.fields.values()), card.name


def test_a_backbone_without_a_public_name_needs_one(saved, tmp_path):
    with pytest.raises(ArtifactError, match=r"is no name of a model on the hub.*--base"):
        export_prompt(saved(), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_on_the_default_backbone_names_the_model_on_the_hub(
    saved, tmp_path, tiny_llama_folder
):
    prompt = saved()
    path = prompt / "manifest.json"
    path.write_text(path.read_text().replace(str(tiny_llama_folder), "smollm2-135m"))
    export_prompt(prompt, tmp_path / "adapter", backbone=str(tiny_llama_folder))
    readme = (tmp_path / "adapter" / "README.md").read_text()
    assert "else 'HuggingFaceTB/SmolLM2-135M-Instruct'\n" in readme
    config = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert '"HuggingFaceTB/SmolLM2-135M-Instruct"' in config
    assert str(tiny_llama_folder) not in config
    assert "Q4_1" in readme


@pytest.mark.parametrize("offset", [0.0, 3.827])
def test_the_readme_says_if_clinprompt_corrects_the_answer_none(
    tmp_path, tiny_llama_folder, offset
):
    path = save_prompt(tmp_path / "store", tiny_llama_folder, "practice-ner-drugs")
    change_json(path / "manifest.json", nothing_offset=offset)
    export_prompt(path, tmp_path / "adapter", base="the/base", backbone=str(tiny_llama_folder))
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert ("begins with `none` by 3.83, so" in text) == bool(offset)
