"""This project's method: fit the metaprompt to a new task, with the shared prompt or without."""

from contextlib import nullcontext

from clinprompt.backbone.tuners import PromptTuner
from clinprompt.methods.counts import factor_numbers, prompt_numbers
from clinprompt.methods.method import Method, Start, Started
from clinprompt.methods.routing import starting_prompt


def _start(given: Start, name: str, *, train_shared: bool) -> Started:
    settings, placement = given.config.adapt, given.config.prompt.placement
    module = starting_prompt(given, given.needed_metaprompt(name), train_shared=train_shared)
    rates = {"shared": settings.shared_rate} if train_shared else {}
    rates["factors"] = settings.factor_rate
    return nullcontext((PromptTuner(module, placement), rates))


ADAPTED_FACTORS = Method(
    "adapted-factors",
    trains="prompt",
    count=factor_numbers,
    start=lambda given: _start(given, "adapted-factors", train_shared=False),
    needs_metaprompt=True,
    saves="factors",
)
ADAPTED_METAPROMPT = Method(
    "adapted-metaprompt",
    trains="prompt",
    count=lambda config, sizes: prompt_numbers(config, sizes) + factor_numbers(config, sizes),
    start=lambda given: _start(given, "adapted-metaprompt", train_shared=True),
    needs_metaprompt=True,
    saves="prompt",
)
