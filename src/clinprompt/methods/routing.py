"""Choose what a new task starts from: the metaprompt's factors, or one source's prompt.

Axes: K source tasks, P prompt positions, R rank, H hidden size.
"""

from collections.abc import Sequence

from clinprompt.batches.encode import Row
from clinprompt.batches.mixture import sample
from clinprompt.errors import SettingError
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.runs.run import Run
from clinprompt.tasks.card import TaskCard
from clinprompt.training.fit import mean_loss

ROUTE_ROWS = 16


def starting_prompt(
    run: Run,
    metaprompt: Artifact,
    card: TaskCard,
    *,
    rows: Sequence[Row] = (),
    train_shared: bool = True,
) -> DecomposedPrompts:
    """Return the metaprompt with the factors that a new task starts from, as the run routes.

    Where types have segments of the metaprompt, it is that of the task's type in every case.
    ``all`` averages the factors of all sources, ``type`` those of the task's own type, ``nearest``
    takes the start with the lowest loss on 16 of ``rows`` among these two averages and
    each source alone; without rows it starts as ``type`` does, or ``all`` for an unknown type.

    Raises:
        SettingError: ``type`` where no source has the task's type.
    """
    chosen = _routed(run, metaprompt, card, rows)
    return _mean_start(run, metaprompt, card, chosen, train_shared=train_shared)


def best_teacher(
    run: Run, metaprompt: Artifact, card: TaskCard, rows: Sequence[Row]
) -> SoftPrompts:
    """Return the source prompt with the lowest loss on 16 of ``rows`` (SPoT's start).

    SPoT (arXiv 2110.07904) searches its source prompts by what they score once tuned, or by
    similarity; the loss before tuning costs one pass each and sees nothing but the shots.

    Raises:
        SettingError: this run has not trained the source prompts of the metaprompt.
    """
    names = [f"teachers/{source['name']}" for source in metaprompt.manifest.tasks]
    taught = run.taught_in or run
    taught.refresh()
    if missing := [name for name in names if name not in taught.finished]:
        raise SettingError(
            f"method spot starts from prompts of single sources, but this run has none of "
            f"{missing[0].partition('/')[2]}; leave spot out, or set metaprompt = '' so that the "
            "run trains them"
        )
    starts = [
        SoftPrompts(taught.store.load(name).tensors["vectors"][None]).to(run.backbone.device)
        for name in names
    ]
    judges = sample(rows, ROUTE_ROWS, seed=run.config.seed)
    losses = [mean_loss(run.backbone, run.tuner(own), judges) for own in starts]
    best = losses.index(min(losses))
    run.reporter.say(f"{card.name}: starts from the prompt of {names[best].partition('/')[2]}")
    return starts[best]


def _routed(run: Run, metaprompt: Artifact, card: TaskCard, rows: Sequence[Row]) -> list[int]:
    """Return the source tasks whose factors are averaged to start ``card``."""
    routing = run.config.adapt.routing
    sources = metaprompt.manifest.tasks
    every = list(range(len(sources)))
    same = [k for k in every if sources[k]["type"] == card.type]
    if routing == "type" and not same:
        raise SettingError(
            f"adapt.routing = 'type', but no source task of the metaprompt has type "
            f"{card.type}; use 'all' or 'nearest'"
        )
    if routing == "all":
        return every
    if routing == "type" or not rows:
        return same or every
    starts = [every, *([same] if same else []), *([k] for k in every)]
    judges = sample(rows, ROUTE_ROWS, seed=run.config.seed)
    losses = [
        mean_loss(run.backbone, run.tuner(start), judges)
        for start in (_mean_start(run, metaprompt, card, chosen) for chosen in starts)
    ]
    nearest = starts[losses.index(min(losses))]
    names = ", ".join(str(sources[k]["name"]) for k in nearest)
    run.reporter.say(f"{card.name}: starts from the factors of {names}")
    return nearest


def _mean_start(
    run: Run,
    metaprompt: Artifact,
    card: TaskCard,
    chosen: Sequence[int],
    *,
    train_shared: bool = True,
) -> DecomposedPrompts:
    tensors, index = metaprompt.tensors, list(chosen)
    return DecomposedPrompts(
        metaprompt.shared_for(card.type),
        tensors["u"][index].float().mean(dim=0, keepdim=True),
        tensors["v"][index].float().mean(dim=0, keepdim=True),
        train_shared=train_shared,
    ).to(run.backbone.device)
