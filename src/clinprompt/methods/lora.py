"""LoRA (arXiv 2106.09685): train low-rank adapters of linear layers."""

from collections.abc import Iterator
from contextlib import contextmanager

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.backbone.tuners import Tuner, lora
from clinprompt.errors import SettingError, did_you_mean
from clinprompt.methods.method import Method, Rates, Start
from clinprompt.settings.run import RunConfig


@contextmanager
def _start(given: Start) -> Iterator[tuple[Tuner, Rates]]:
    own = given.config.baselines
    with lora(
        given.backbone, rank=own.lora_rank, modules=own.lora_modules, seed=given.seed
    ) as tuner:
        yield tuner, {"lora": own.lora_rate}


def _count(config: RunConfig, sizes: ModelSizes) -> int:
    """Return R·(inputs + outputs), summed over the adapted layers.

    Raises:
        SettingError: the backbone does not have one of these layers.
    """
    own, known = config.baselines, sizes.linear_inputs
    if unknown := sorted(set(own.lora_modules) - set(known)):
        raise SettingError(
            f"baselines.lora_modules: a {sizes.kind} has no linear layer {unknown[0]!r}; "
            f"{did_you_mean(unknown[0], known)}"
        )
    widths = (known[name] + sizes.linear_outputs[name] for name in own.lora_modules)
    return own.lora_rank * sum(widths)


LORA = Method("lora", trains="adapters", count=_count, start=_start, reads_prompt=False)
