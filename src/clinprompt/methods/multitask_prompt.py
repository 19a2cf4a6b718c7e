"""A control: one prompt, trained on the rows of all source tasks, without teachers or factors."""

from contextlib import nullcontext

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import OnePromptTuner, copy_trained
from clinprompt.methods.counts import prompt_numbers
from clinprompt.methods.method import Method, Start, Started
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.run import RunConfig

NAME = "multitask-prompt"


def _tuner(config: RunConfig, backbone: Backbone) -> OnePromptTuner:
    vectors = start_vectors(backbone, config.prompt, seed=config.seed)
    return OnePromptTuner(SoftPrompts(vectors[None]).to(backbone.device), config.prompt.placement)


def _on_sources(config: RunConfig, backbone: Backbone) -> Started:
    return nullcontext((_tuner(config, backbone), {"prompt": config.baselines.source_prompt_rate}))


def _start(given: Start) -> Started:
    """Return the prompt of the source tasks, to be trained further like any prompt."""
    trained = given.needed_from_sources(NAME)
    tuner = _tuner(given.config, given.backbone)
    copy_trained(tuner, trained)
    return nullcontext((tuner, {"prompt": given.config.baselines.prompt_rate}))


MULTITASK_PROMPT = Method(
    NAME,
    trains="prompt",
    count=prompt_numbers,
    start=_start,
    on_sources=_on_sources,
    saves="prompt",
)
