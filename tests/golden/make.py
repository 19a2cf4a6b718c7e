"""Make the golden artifacts: prompts of a tiny model, with the answers that they must keep giving.

They are kept in the repository so that later versions read what this one wrote. Never make a folder
again: its answers would be those of the version that makes it. A new form of the artifact gets a
new folder beside the others.

Run: python tests/golden/make.py tests/golden/VERSION
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from safetensors.torch import load_file, save_file
from tiny import save_tiny

from clinprompt.api import Annotator
from clinprompt.backbone import constraint
from clinprompt.backbone.layers import prompt_width
from clinprompt.backbone.load import load_backbone
from clinprompt.prompts.artifact import make_artifact
from clinprompt.prompts.store import Store
from clinprompt.runs.manifest import manifest_of
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.records import Record

LENGTH, RANK, HIDDEN, SEED = 4, 1, 32, 0
NER, NLI = "practice-ner-drugs", "practice-nli-social"
SOURCES = ("practice-ner-labs", "practice-nli-history")
TEXTS = ("Takes aspirin.", "Stopped smoking in May.", "No drugs, no allergies.")
LENGTHS = {"yes": -22.0, "no": -16.5}  # a calibration: a random model prefers shorter words
# By the name of the prompt: its kind, task, placement and calibration.
PROMPTS = {
    "label-prefix": ("prompt", NLI, "prefix", LENGTHS),
    "label-suffix": ("prompt", NLI, "suffix", LENGTHS),
    "label-factors": ("factors", NLI, "prefix", LENGTHS),
    "mentions-layers": ("prompt", NER, "layers", {}),
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir()
    model = _save_model(folder / "model")
    _save_prompts(folder / "store", model)
    constraint.MIN_SHARE = 0.0  # a random model has little probability on what is allowed
    found = {name: answers(folder, name) for name in PROMPTS}
    (folder / "answers.json").write_text(json.dumps(found, indent=2) + "\n")


def notes_of(task):
    """Return the notes that a prompt of a task answers."""
    if task == NER:
        return [Record(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    return [
        Record(str(number), {"text": text, "statement": "The patient smokes."})
        for number, text in enumerate(TEXTS)
    ]


def answers(folder, name):
    """Return the answers of a prompt as plain values."""
    loaded = Annotator.load(folder / "store" / name, backbone=str(folder / "model"), device="cpu")
    found = loaded.predict(notes_of(PROMPTS[name][1]))
    return [one.to_dict() for one in found]


def _save_model(folder):
    """Save a random model with half the usual size on disk; its fingerprint is that of the file."""
    save_tiny(folder, "llama", initializer_range=0.3)
    path = folder / "model.safetensors"
    weights = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    return load_backbone(str(folder), device="cpu")


def _save_prompts(root, model):
    store, draw = Store(root), torch.Generator().manual_seed(SEED)

    def manifest(kind, name, tasks, placement="prefix"):
        prompt = {"length": LENGTH, "rank": RANK, "placement": placement}
        data = {"max_input_tokens": 400, "max_target_tokens": 40}
        values = {"name": "golden", "backbone": "golden", "prompt": prompt, "data": data}
        config = check_config(values, source="golden")
        cards = [find_card(task) for task in tasks]
        return manifest_of(config, model, kind=kind, name=name, method="made", cards=cards)

    def numbers(*shape, start=0.0):
        return start + 0.5 * torch.randn(*shape, generator=draw)

    shared = {
        "shared": numbers(LENGTH, HIDDEN),
        "u": numbers(len(SOURCES), LENGTH, RANK, start=1),
        "v": numbers(len(SOURCES), RANK, HIDDEN, start=1),
    }
    metaprompt = make_artifact(manifest("metaprompt", "metaprompt", SOURCES), shared)
    store.save(metaprompt)
    for name, (kind, task, placement, calibration) in PROMPTS.items():
        if kind == "factors":
            tensors = {"u": numbers(LENGTH, RANK, start=1), "v": numbers(RANK, HIDDEN, start=1)}
            own = {"metaprompt": metaprompt.manifest.content_hash}
        else:
            width = prompt_width(model.model, placement)
            tensors, own = {"vectors": numbers(LENGTH, width)}, {}
        described = manifest(kind, name, [task], placement).model_copy(
            update=own | {"calibration": calibration}
        )
        store.save(make_artifact(described, tensors))


if __name__ == "__main__":
    main()
