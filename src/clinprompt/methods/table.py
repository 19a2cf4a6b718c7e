"""The one table of methods.

To add a method, write one file with a ``Method`` and add it here. A setting that only this method
needs, such as its learning rate, belongs to ``BaselineSettings`` in settings/groups.py.
"""

from collections.abc import Mapping

from clinprompt.methods.adapted import ADAPTED_FACTORS, ADAPTED_METAPROMPT
from clinprompt.methods.full import FULL
from clinprompt.methods.in_context import IN_CONTEXT
from clinprompt.methods.instruction import INSTRUCTION
from clinprompt.methods.lora import LORA
from clinprompt.methods.lora_multitask import LORA_MULTITASK
from clinprompt.methods.method import Method
from clinprompt.methods.multitask_prompt import MULTITASK_PROMPT
from clinprompt.methods.peft_mpt import PEFT_MPT
from clinprompt.methods.prompt_tuning import PROMPT_TUNING
from clinprompt.methods.spot import SPOT
from clinprompt.methods.zero_shot import METAPROMPT
from clinprompt.settings.groups import split_method

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        INSTRUCTION,
        IN_CONTEXT,
        PROMPT_TUNING,
        SPOT,
        MULTITASK_PROMPT,
        PEFT_MPT,
        LORA,
        LORA_MULTITASK,
        FULL,
        METAPROMPT,
        ADAPTED_FACTORS,
        ADAPTED_METAPROMPT,
    )
}
DEFAULT_METHODS = tuple(
    method.name for method in (INSTRUCTION, METAPROMPT, PROMPT_TUNING, LORA, ADAPTED_METAPROMPT)
)
ADAPT_ALL, ADAPT_FACTORS = ADAPTED_METAPROMPT.name, ADAPTED_FACTORS.name  # of the job ``adapt``
ZERO_SHOT = METAPROMPT.name  # what ``adapt`` saves without examples
CONTROLS = (SPOT.name, MULTITASK_PROMPT.name, LORA_MULTITASK.name)  # these learn from the sources
REFERENCES = (  # reports show the differences of all other methods to these
    LORA.name,
    PROMPT_TUNING.name,
    INSTRUCTION.name,
    *CONTROLS,
)
SHOWN_METHODS = tuple(  # these read their shots as text, and train nothing
    method.name for method in METHODS.values() if method.trains == "nothing" and method.uses_shots
)


def method_of(name: str) -> Method:
    """Return the method of METHOD or METHOD@VARIANT, whose name was checked before."""
    return METHODS[split_method(name)[0]]
