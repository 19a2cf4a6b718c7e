"""Make a store of prompts for a tiny model, of random numbers instead of training."""

import torch

from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.load import load_backbone
from clinprompt.prompts.artifact import make_artifact
from clinprompt.prompts.store import Store
from clinprompt.runs.manifest import manifest_of
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card

TASKS = (
    "practice-ner-drugs",
    "practice-re-dose",
    "practice-nli-history",
    "practice-sum-plan",
)


def save_prompt(
    store, model, task, *, placement="prefix", length=4, seed=0, name="", quantize="none", **data
):
    """Save a random prompt of a task for the model in a folder; return the prompt's folder.

    ``data`` are other settings of its data.
    """
    values = {
        "name": "made",
        "backbone": str(model),
        "device": "cpu",
        "quantize": quantize,
        "data": {"max_input_tokens": 400, "max_target_tokens": 40, **data},
        "prompt": {"length": length, "placement": placement},
    }
    backbone = load_backbone(str(model), device="cpu", quantize=quantize)
    manifest = manifest_of(
        check_config(values, source="test"),
        backbone,
        kind="prompt",
        name=name or task,
        method="tuned",
        cards=[find_card(task)],
    )
    generator = torch.Generator().manual_seed(seed)
    width = prompt_width(backbone.model, placement)
    vectors = 0.5 * torch.randn(length, width, generator=generator)
    return Store(store).save(make_artifact(manifest, {"vectors": vectors}))


def save_store(folder, model, *, tasks=TASKS, placements=("prefix", "suffix", "layers")):
    """Save a prompt for each task, of all placements in turn; return the folder."""
    for number, task in enumerate(tasks):
        save_prompt(folder, model, task, placement=placements[number % 3], seed=number)
    return folder
