"""Full fine-tuning: train all weights of the backbone, and restore them afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from clinprompt.backbone.tuners import Tuner, full
from clinprompt.methods.method import Method, Rates, Start


@contextmanager
def _start(given: Start) -> Iterator[tuple[Tuner, Rates]]:
    with full(given.backbone) as tuner:
        yield tuner, {"full": given.config.baselines.full_rate}


FULL = Method(
    "full",
    trains="weights",
    count=lambda _, sizes: sizes.num_parameters,
    start=_start,
    reads_prompt=False,
    required_dtype="float32",
    is_checkpointed=False,  # a checkpoint of all weights takes longer than the steps that it saves
)
