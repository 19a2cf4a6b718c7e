"""Choose the cells of a comparison that are trained side by side, as a team."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice

from clinprompt.jobs.comparison.grid import CellSpec
from clinprompt.methods.resolve import Resolved
from clinprompt.methods.same_training import backbone_of, encoding_of
from clinprompt.methods.table import method_of

# The key of the cells that can be trained side by side with a cell; None: it is trained alone.
TeamKey = Callable[[CellSpec], Hashable | None]


def team_key(settings: Resolved, spec: CellSpec) -> Hashable | None:
    """Return the key of the cells that can be trained side by side with a cell.

    These are cells of all variants, targets, shots and seeds whose prompts have the same placement,
    and whose rows are encoded, batched and weighted alike. None: the method trains no prompt, so
    its cells are computed alone.
    """
    method = method_of(spec.method)
    if method.trains != "prompt":
        return None
    config = settings[spec.backbone, spec.variant].at(spec.shots)
    adapt, placement = config.adapt, method.placement or config.prompt.placement
    batches = (adapt.rows, adapt.micro_batch_tokens, adapt.row_weights, adapt.row_cap)
    return (*backbone_of(config), placement, *batches, encoding_of(config))


def team_of(spec: CellSpec, unfinished: Iterable[CellSpec], key: TeamKey) -> Iterator[CellSpec]:
    """Yield a cell, then the unfinished cells that can be trained side by side with it."""
    yield spec
    if team := key(spec):
        yield from (one for one in unfinished if key(one) == team and one.key != spec.key)


def with_team_members(
    left: Sequence[CellSpec], ahead: Sequence[CellSpec], size: int, key: TeamKey
) -> list[CellSpec]:
    """Return the cells of ``left``, and those of ``ahead`` that complete their teams.

    ``size`` is the number of cells in a complete team.
    """
    started = list(left)
    for team, count in Counter(team for one in left if (team := key(one))).items():
        started += islice((one for one in ahead if key(one) == team), -count % size)
    return started
