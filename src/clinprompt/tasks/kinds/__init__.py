"""What each kind of task is: how it is written, read, joined, scored and shown. Knows no models.

``table`` maps a card's ``type`` and ``answer`` to its ``Kind``. One file holds each: ``ner``,
``relations``, ``qa``, ``nli`` and ``summarization``. Several kinds share the other files:
``labels`` (closed sets), ``free_text``, ``listing`` (annotations of a text, in windows),
``grounding`` (find mentions in a text), ``scores``, ``baselines`` and ``brat_output``. ``wording``
puts a record into a card's words.
"""

from clinprompt.tasks.kinds.kind import Kind
from clinprompt.tasks.kinds.table import KINDS, TASK_TYPES, kind_of
from clinprompt.tasks.kinds.wording import (
    answer_to_json,
    fields_of,
    instruction_of,
    make_example,
    parse_answer,
    render_answer,
)

__all__ = [
    "KINDS",
    "TASK_TYPES",
    "Kind",
    "answer_to_json",
    "fields_of",
    "instruction_of",
    "kind_of",
    "make_example",
    "parse_answer",
    "render_answer",
]
