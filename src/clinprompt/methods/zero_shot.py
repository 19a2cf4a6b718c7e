"""Zero-shot metaprompt: the prompt that a new task would start from, without any training."""

from collections.abc import Sequence

import torch

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.batches.encode import Encoder
from clinprompt.methods.method import Method, Start
from clinprompt.methods.routing import starting_prompt
from clinprompt.tasks.records import Record


def _untrained(given: Start, _: Encoder, __: Sequence[Record]) -> tuple[Bank, int]:
    prompts = starting_prompt(given, given.needed_metaprompt("metaprompt"))([0])
    with torch.inference_mode():
        return make_bank(given.backbone.model, prompts, given.config.prompt.placement), 0


METAPROMPT = Method("metaprompt", untrained=_untrained, needs_metaprompt=True, uses_shots=False)
