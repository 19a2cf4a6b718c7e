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
    model = given.backbone.model
    longest_row = encoder.max_input_tokens + encoder.target_limit(given.card.name)
    room = given.backbone.context - longest_row
    begin = given.backbone.tokenizer.bos_token_id
    ids: list[int] = []
    for number, record in enumerate(records):
        row = encoder.encode(make_example(given.card, record, instruct=True))
        own = row.input_ids + row.target_ids
        if ids and own[0] == begin:
            own = own[1:]
        if len(ids) + len(own) > room:
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
