"""Multitask prompt tuning (arXiv 2303.02861) as PEFT implements it, on the new task alone."""

from contextlib import nullcontext

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.backbone.tuners import PeftPromptTuner
from clinprompt.methods.method import Method, Start, Started
from clinprompt.settings.run import RunConfig


def _start(given: Start) -> Started:
    prompt = given.config.prompt
    tuner = PeftPromptTuner(given.backbone, length=prompt.length, rank=prompt.rank, seed=given.seed)
    return nullcontext((tuner, {"mpt": given.config.baselines.mpt_rate}))


def _count(config: RunConfig, sizes: ModelSizes) -> int:
    """Return P·H + R·(P + H): PEFT's prompt always comes before the input."""
    prompt, hidden = config.prompt, sizes.hidden_size
    return prompt.length * hidden + prompt.rank * (prompt.length + hidden)


PEFT_MPT = Method(
    "peft-mpt",
    trains="prompt",
    count=_count,
    start=_start,
    saves="prompt",
    placement="prefix",
)
