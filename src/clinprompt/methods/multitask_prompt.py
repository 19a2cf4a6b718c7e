"""A control: one prompt, trained on the rows of all source tasks, without teachers or factors."""

from contextlib import nullcontext

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import OnePromptTuner, PromptTuner
from clinprompt.methods.counts import prompt_numbers
from clinprompt.methods.method import Method, Start, Started
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.run import RunConfig

NAME = "multitask-prompt"


def _on_sources(config: RunConfig, backbone: Backbone) -> Started:
    vectors = start_vectors(backbone, config.prompt, seed=config.seed)
    module = SoftPrompts(vectors[None]).to(backbone.device)
    tuner = OnePromptTuner(module, config.prompt.placement)
    return nullcontext((tuner, {"prompt": config.baselines.source_prompt_rate}))


def _start(given: Start) -> Started:
    """Return the prompt of the source tasks, to be trained further like any prompt."""
    [vectors] = given.needed_from_sources(NAME).values()  # [1, P, W]
    module = SoftPrompts(vectors, scale=given.scale_of(vectors[0])).to(given.backbone.device)
    tuner = PromptTuner(module, given.config.prompt.placement)
    return nullcontext((tuner, {"prompt": given.config.baselines.prompt_rate}))


MULTITASK_PROMPT = Method(
    NAME,
    trains="prompt",
    count=prompt_numbers,
    start=_start,
    on_sources=_on_sources,
    saves="prompt",
)
