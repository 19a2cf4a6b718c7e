"""An export replaces an earlier adapter and nothing else."""

import pytest
import torch

from clinprompt.errors import ArtifactError
from clinprompt.prompts.artifact import Manifest
from clinprompt.prompts.peft_export import export_peft


def manifest():
    return Manifest(
        kind="prompt",
        name="mine",
        method="made",
        backbone="tiny",
        fingerprint="tensors:0",
        length=2,
        hidden_size=3,
    )


def test_export_into_a_folder_without_an_adapter_is_refused(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="exists and is not a PEFT adapter"):
        export_peft(folder, manifest(), torch.zeros(2, 3), base="tiny", readme="# mine\n")
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_export_does_not_remove_what_others_put_beside_an_adapter(tmp_path):
    words = (tmp_path / "adapter", manifest(), torch.zeros(2, 3))
    export_peft(*words, base="tiny", readme="# mine\n")
    (tmp_path / "adapter" / "run.py").write_text("mine")
    with pytest.raises(ArtifactError, match=r"holds other files, such as run.py; choose a new"):
        export_peft(*words, base="tiny", readme="# mine\n")
    assert (tmp_path / "adapter" / "run.py").read_text() == "mine"


def test_export_replaces_an_earlier_adapter(tmp_path):
    for _ in range(2):
        export_peft(
            tmp_path / "adapter", manifest(), torch.zeros(2, 3), base="tiny", readme="# mine\n"
        )
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
