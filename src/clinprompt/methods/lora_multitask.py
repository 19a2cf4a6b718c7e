"""A control: LoRA, trained on the rows of all source tasks before it is trained on the target."""

from collections.abc import Iterator
from contextlib import contextmanager

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.tuners import Tuner, copy_trained, lora
from clinprompt.methods.lora import LORA
from clinprompt.methods.method import Method, Rates, Start
from clinprompt.settings.run import RunConfig

NAME = "lora-multitask"


@contextmanager
def _on_sources(config: RunConfig, backbone: Backbone) -> Iterator[tuple[Tuner, Rates]]:
    own = config.baselines
    with lora(backbone, rank=own.lora_rank, modules=own.lora_modules, seed=config.seed) as tuner:
        yield tuner, {"lora": own.source_lora_rate}


@contextmanager
def _start(given: Start) -> Iterator[tuple[Tuner, Rates]]:
    """Yield the adapters of the source tasks, to be trained as LoRA is from its own start."""
    trained = given.needed_from_sources(NAME)
    with LORA.started(given) as (tuner, rates):
        copy_trained(tuner, trained)
        yield tuner, rates


LORA_MULTITASK = Method(
    NAME,
    trains="adapters",
    count=LORA.count,
    start=_start,
    on_sources=_on_sources,
    reads_prompt=False,
)
