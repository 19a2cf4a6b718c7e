"""In-context learning: show solved examples as text before every input."""

from collections.abc import Sequence

from clinprompt.backbone.bank import Bank, text_bank
from clinprompt.batches.encode import Encoder
from clinprompt.methods.method import Method, Start
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import Record


def _demonstrations(given: Start, encoder: Encoder, records: Sequence[Record]) -> tuple[Bank, int]:
    """Return the examples as text, each with its question and answer, and how many of them fit.

    They must fit into the backbone's context together with the longest row.
    """
    model, card = given.backbone.model, given.card
    examples = [make_example(card, record) for record in records]
    added = encoder.after_solved().added_tokens(examples[0]) if examples else 0
    longest_row = encoder.max_input_tokens + added + encoder.target_limit(card.name)
    ids: list[int] = []
    for number, example in enumerate(examples):
        own = encoder.encode_solved(example, is_first=number == 0)
        if len(ids) + len(own) + longest_row > given.backbone.context:
            return text_bank(model, ids), number
        ids += own
    return text_bank(model, ids), len(records)


IN_CONTEXT = Method(
    "in-context",
    untrained=_demonstrations,
    is_instructed=True,
    allows_all_shots=False,
    reads_prompt=False,
)
