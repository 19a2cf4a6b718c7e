"""Make the folder of a metaprompt for a tiny model, of random numbers instead of training."""

import torch

from clinprompt.backbone.load import load_backbone
from clinprompt.prompts.artifact import make_artifact, save_artifact
from clinprompt.runs.manifest import manifest_of
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card

LENGTH, HIDDEN = 4, 32
SOURCES = ("practice-ner-labs", "practice-nli-history")
ADAPT = {"steps": 3, "rows": 2, "warmup_steps": 0, "checkpoint_every": 25}


def save_metaprompt(folder, model, *, seed=5, adapt=None, input_form=2):
    """Save a metaprompt of two made-up sources for the model in a folder; return its folder."""
    values = {
        "name": "made",
        "backbone": str(model),
        "device": "cpu",
        "data": {"max_input_tokens": 400, "max_target_tokens": 30, "input_form": input_form},
        "prompt": {"length": LENGTH},
        "adapt": ADAPT if adapt is None else adapt,
    }
    config = check_config(values, source="test")
    cards = [find_card(name) for name in SOURCES]
    manifest = manifest_of(
        config,
        load_backbone(str(model), device="cpu"),
        kind="metaprompt",
        name="m",
        method="distilled",
        cards=cards,
    )
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "shared": 1 + torch.rand(LENGTH, HIDDEN, generator=generator),
        "u": 1 + torch.rand(2, LENGTH, 1, generator=generator),
        "v": 1 + torch.rand(2, 1, HIDDEN, generator=generator),
    }
    save_artifact(folder, make_artifact(manifest, tensors))
    return folder
