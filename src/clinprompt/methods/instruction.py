"""Zero-shot instruction: ask the backbone in words, with no learned prompt."""

from clinprompt.backbone.bank import Bank
from clinprompt.methods.method import Method

INSTRUCTION = Method(
    "instruction",
    untrained=lambda _, __, ___: (Bank(), 0),
    is_instructed=True,
    uses_shots=False,
    reads_prompt=False,
)
