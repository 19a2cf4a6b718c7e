"""Compute the initial vectors of a prompt at the placement in the settings.

Axes: P prompt positions, W width of a prompt at its placement.
"""

import torch
from torch import Tensor

from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.load import Backbone
from clinprompt.prompts.initializers import from_text, from_vocabulary
from clinprompt.settings.groups import PromptSettings


def start_vectors(backbone: Backbone, settings: PromptSettings, *, seed: int) -> Tensor:
    """Return the initial vectors [P, W] of a prompt before training."""
    if settings.start == "text":
        ids = backbone.tokenizer(settings.text, add_special_tokens=False)["input_ids"]
        start = from_text(backbone.embeddings, ids, length=settings.length)
    else:
        generator = torch.Generator().manual_seed(seed)
        start = from_vocabulary(backbone.embeddings, length=settings.length, generator=generator)
    return (
        to_layer_prompts(backbone.model, start[None])[0]
        if settings.placement == "layers"
        else start
    )
