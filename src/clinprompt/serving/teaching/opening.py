"""Open a workspace: its tasks, and how they are adapted."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clinprompt.backbone.load import DTYPES, Backbone, check_fits, load_backbone
from clinprompt.errors import SettingError
from clinprompt.jobs.adapt_settings import adapt_config
from clinprompt.jobs.before_adapting import untrained_prompt
from clinprompt.jobs.task_table import load_backbone_for
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.prompts.store import Store
from clinprompt.serving.teaching.adapting import Recipe
from clinprompt.serving.teaching.workspace import TaughtTasks


def recipe_of(metaprompt: str, changes: Sequence[str]) -> Recipe:
    """Return how tasks are adapted: from a metaprompt, with changed settings.

    Raises:
        ArtifactError: the folder does not hold a metaprompt.
        SettingError: a change is unknown or out of range, or divides the backbone over processes.
    """
    config = adapt_config(metaprompt, list(changes))
    if config.tensor_parallel:
        raise SettingError("tensor_parallel = true has no effect on a server; leave it out")
    manifest = find_metaprompt(metaprompt, config.backbone).manifest
    return Recipe(metaprompt, tuple(changes), config, manifest.input_form > 1)


def backbone_for(recipe: Recipe, store: Path, backbone: str, *, device: str) -> Backbone:
    """Return the backbone of the prompts in a store or, if it has none, of the metaprompt.

    Raises:
        ArtifactError: the metaprompt is of another backbone.
        BackboneError: the backbone cannot be loaded.
    """
    config = recipe.config
    if any(not name.startswith("metaprompts/") for name in Store(store).names()):
        found = load_backbone_for(store, backbone, device=device, dtype=config.dtype)
    else:
        found = load_backbone(
            config.backbone,
            device=device,
            dtype=DTYPES[config.dtype],
            quantize=config.quantize,
        )
    check_fits(found, find_metaprompt(recipe.metaprompt, config.backbone).manifest)
    return found


def open_tasks(folder: Path, store: Path, backbone: Backbone, recipe: Recipe) -> TaughtTasks:
    """Open the tasks of a workspace; every task is in the store afterwards.

    Raises:
        ClinpromptError: a part of the workspace or the store is damaged or is something else.
    """
    start = partial(untrained_prompt, backbone, config=recipe.config)
    return TaughtTasks(folder, store, start)
