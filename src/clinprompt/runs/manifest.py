"""Describe a prompt that was trained in a run. It names no local folder."""

from collections.abc import Sequence
from typing import Any

from clinprompt.backbone.layers import key_value_shape, prompt_width
from clinprompt.backbone.load import Backbone
from clinprompt.prompts.artifact import ArtifactKind, Manifest
from clinprompt.settings.local_names import plain_name, with_plain_names
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import TASK_TYPES


def manifest_of(
    config: RunConfig,
    backbone: Backbone,
    *,
    kind: ArtifactKind,
    name: str,
    method: str,
    cards: Sequence[TaskCard],
) -> Manifest:
    """Return the manifest of a trained prompt; its tensors fill in the hash later."""
    prompt, is_metaprompt = config.prompt, kind == "metaprompt"
    in_layers = {}
    if prompt.placement == "layers":
        num_layers, num_heads, _ = key_value_shape(backbone.model)
        in_layers = {"num_layers": num_layers, "num_heads": num_heads}
    is_routed = is_metaprompt and prompt.segment > 0
    return Manifest(
        **in_layers,
        kind=kind,
        name=name,
        method=method,
        backbone=plain_name(config.backbone),
        fingerprint=backbone.fingerprint,
        length=prompt.length,
        placement=prompt.placement,
        hidden_size=prompt_width(backbone.model, prompt.placement),
        end_ids=tuple(sorted(backbone.answer_ends)),
        rank=0 if kind == "prompt" else prompt.rank,
        segment=prompt.segment if is_routed else 0,
        types=TASK_TYPES if is_routed else (),
        tasks=tuple(card.model_dump(mode="json") for card in cards),
        settings=shareable_settings(config),
        seed=config.seed,
    )


def shareable_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain values, with plain names in place of local paths.

    Whether the backbone was divided over processes, or its layers were computed again to save
    memory, is left out: a prompt that is adapted from this one takes its settings, perhaps on
    another machine.
    """
    left_out = {"tensor_parallel", "gradient_checkpointing"}
    return with_plain_names(config.model_dump(mode="json", exclude=left_out))
