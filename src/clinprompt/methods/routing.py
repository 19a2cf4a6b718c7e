"""Choose the factors of a metaprompt that a new task starts from.

Axes: K source tasks, P prompt positions, R rank, W width of a prompt position.
"""

from collections.abc import Sequence

from clinprompt.backbone.tuners import PromptTuner
from clinprompt.batches.mixture import sample
from clinprompt.methods.metaprompts import check_routing
from clinprompt.methods.method import Start
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.training.fit import mean_loss

ROUTE_ROWS = 16


def starting_prompt(
    given: Start, metaprompt: Artifact, *, train_shared: bool = True
) -> DecomposedPrompts:
    """Return the metaprompt with the factors that a new task starts from; see ``adapt.routing``.

    A metaprompt with segments for task types always uses the segment of the task's own type.
    ``all`` averages the factors of all sources, ``type`` those of sources of the task's type.
    ``nearest`` tries both averages and each source alone, and takes the one with the lowest loss
    on 16 rows of the task. Without rows, it takes the average over the task's type if any source
    has that type, else over all sources.

    Raises:
        SettingError: routing is ``type`` and no source has the task's type.
    """
    chosen = _routed(given, metaprompt)
    return _mean_start(given, metaprompt, chosen, train_shared=train_shared)


def index_of_lowest_loss(
    given: Start, starts: Sequence[SoftPrompts] | Sequence[DecomposedPrompts]
) -> int:
    """Return the index of the prompt that has the lowest loss on 16 rows of the task."""
    rows = sample(given.rows, ROUTE_ROWS, seed=given.config.seed)
    placement = given.config.prompt.placement
    losses = [mean_loss(given.backbone, PromptTuner(one, placement), rows) for one in starts]
    return losses.index(min(losses))


def _routed(given: Start, metaprompt: Artifact) -> list[int]:
    """Return the source tasks whose factors are averaged to start the task."""
    routing, card = given.config.adapt.routing, given.card
    sources = metaprompt.manifest.tasks
    every = list(range(len(sources)))
    same = [k for k in every if sources[k]["type"] == card.type]
    check_routing(metaprompt, card, routing)
    if routing == "all":
        return every
    if routing == "type" or not given.rows:
        return same or every
    choices = [every, *([same] if same else []), *([k] for k in every)]
    starts = [_mean_start(given, metaprompt, chosen) for chosen in choices]
    nearest = choices[index_of_lowest_loss(given, starts)]
    names = ", ".join(str(sources[k]["name"]) for k in nearest)
    given.say(f"{card.name}: starts from the factors of {names}")
    return nearest


def _mean_start(
    given: Start, metaprompt: Artifact, chosen: Sequence[int], *, train_shared: bool = True
) -> DecomposedPrompts:
    tensors, index = metaprompt.tensors, list(chosen)
    shared = metaprompt.shared_for(given.card.type)
    return DecomposedPrompts(
        shared,
        tensors["u"][index].float().mean(dim=0, keepdim=True),
        tensors["v"][index].float().mean(dim=0, keepdim=True),
        train_shared=train_shared,
        scale=given.scale_of(shared),
    ).to(given.backbone.device)
