"""The public Python API: instant to import, complete, and used as README and the page show."""

import re
import subprocess
import sys
from functools import partial, partialmethod
from pathlib import Path

import pytest
import torch

import clinprompt

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
SENTENCES = [
    ("Takes aspirin daily.", "aspirin"),
    ("Started on metformin.", "metformin"),
    ("Denies pain.", ""),
    ("Warfarin was stopped.", "Warfarin"),
    ("No new complaints.", ""),
    ("Continue lisinopril.", "lisinopril"),
]
SMALL_RUN = """
name = "my-run"
suite = "my-suite.toml"
backbone = "{backbone}"
device = "cpu"
[data]
max_input_tokens = 100
max_target_tokens = 30
train_rows = 4
[prompt]
length = 4
[teacher]
steps = 1
rows = 1
[distill]
steps = 1
rows = 1
"""
SMALL_SUITE = """
name = "my-suite"
title = "One made-up source, one made-up target"
sources = ["practice-nli-history"]
targets = ["practice-nli-social"]
"""


@pytest.mark.slow
def test_import_loads_neither_torch_nor_pydantic():
    code = "import sys, clinprompt; assert not {'torch', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_had():
    for name in clinprompt.__all__:
        assert getattr(clinprompt, name).__name__ == name
    assert set(clinprompt.__all__) <= set(dir(clinprompt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = clinprompt.nothing


def write_brat(folder):
    folder.mkdir()
    for number in range(30):
        sentence, drug = SENTENCES[number % len(SENTENCES)]
        text = f"Day {number}. {sentence}"
        start = text.find(drug)
        line = f"T1\tdrug {start} {start + len(drug)}\t{drug}\n" if drug else ""
        (folder / f"{number}.txt").write_text(text)
        (folder / f"{number}.ann").write_text(line)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_llama_folder):
    """Run the pages' code in order, with two training steps for twenty and few test rows."""
    folder = tmp_path_factory.mktemp("python")
    write_brat(folder / "notes")
    (folder / "my-run.toml").write_text(SMALL_RUN.format(backbone=tiny_llama_folder))
    (folder / "my-suite.toml").write_text(SMALL_SUITE)
    pages = [ROOT / "README.md", ROOT / "docs" / "python.md"]
    names: dict[str, object] = {}
    full_adapt = clinprompt.adapt
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            clinprompt, "adapt", partial(full_adapt, settings={"adapt.steps": 2}), raising=False
        )
        evaluate_few = partialmethod(clinprompt.Annotator.evaluate, num_rows=5)
        patch.setattr(clinprompt.Annotator, "evaluate", evaluate_few)
        for page in pages:
            for code in CODE.findall(page.read_text(encoding="utf-8")):
                exec(compile(code, page.name, "exec"), names)
    return folder, names


@pytest.mark.slow
def test_code_of_the_page_on_python_runs(ran, smollm2):
    folder, names = ran
    assert (folder / "my-task" / "card.toml").is_file()
    assert (folder / "runs" / "adapt-my-task" / "store" / "my-task").is_dir()
    assert names["result"].num_rows > 0
    assert (folder / names["metaprompt"] / "prompt.safetensors").is_file()


@pytest.mark.slow
def test_factors_saved_alone_give_the_same_prompt(ran):
    folder, names = ran
    factors = names["annotator"]
    assert factors.loaded.artifact.manifest.kind == "factors"
    alone = clinprompt.Annotator.load(factors.save(folder / "alone"))
    assert alone.loaded.artifact.manifest.kind == "prompt"
    assert torch.equal(alone.loaded.prompt, factors.loaded.prompt)
    note = "Takes aspirin."
    assert alone.predict(note).to_dict() == factors.predict(note).to_dict()


@pytest.mark.slow
def test_one_note_gives_one_annotation_and_several_give_a_list(ran):
    annotator = clinprompt.Annotator.load(ran[0] / "my-prompt")
    record = clinprompt.Record("a", {"text": "Takes aspirin."})
    one, [same, other] = annotator.predict(record), annotator.predict([record, "No drugs."])
    assert one.to_dict() == same.to_dict()
    assert (one.record.id, other.record.id) == ("a", "2")


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(clinprompt.SettingError, match=r"adapt\.step: unknown setting"):
        clinprompt.adapt("practice-ner-drugs", folder=tmp_path / "run", settings={"adapt.step": 5})
    assert not (tmp_path / "run").exists()
