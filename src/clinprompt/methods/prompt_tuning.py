"""Prompt tuning (arXiv 2104.08691): train one task's prompt from tokens of the vocabulary."""

from contextlib import nullcontext

from clinprompt.backbone.start_vectors import start_vectors
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.methods.counts import prompt_numbers
from clinprompt.methods.method import Method, Start, Started
from clinprompt.prompts.soft import SoftPrompts


def _start(given: Start) -> Started:
    prompt = given.config.prompt
    vectors = start_vectors(given.backbone, prompt, seed=given.seed)
    module = SoftPrompts(vectors[None], scale=given.scale_of(vectors)).to(given.backbone.device)
    rates = {"prompt": given.config.baselines.prompt_rate}
    return nullcontext((PromptTuner(module, prompt.placement), rates))


PROMPT_TUNING = Method(
    "prompt-tuning", trains="prompt", count=prompt_numbers, start=_start, saves="prompt"
)
