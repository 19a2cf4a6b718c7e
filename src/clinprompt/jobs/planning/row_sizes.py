"""Measure the rows of a task as a comparison reads them: lengths, test rows, decoding steps."""

from collections.abc import Sequence

from clinprompt.backbone.decode import MIN_CACHED_POSITIONS
from clinprompt.batches.encode import Encoder, group_within_limit
from clinprompt.batches.mixture import sample
from clinprompt.batches.parts import parts_of
from clinprompt.jobs.planning.work import RowSizes
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.records import Record

_MEASURED_ROWS = 200


def row_sizes(
    card: TaskCard, test: Sequence[Record], encoder: Encoder, *, test_rows: int, length: int
) -> RowSizes:
    """Measure a sample of test records, of which a comparison answers ``test_rows`` at most.

    ``length`` is the number of prompt positions. A row that is read in parts counts with all of
    them. Answers of a closed set are scored and need no decoding steps.

    Raises:
        DataError: a record has no answer, or lacks a field that the card's wording uses.
    """
    examples = [make_example(card, one) for one in sample(test, _MEASURED_ROWS, seed=0)]
    rows = [
        [encoder.encode(part) for part in parts_of(card, example, encoder).examples]
        for example in examples
    ]
    flat = [row for own in rows for row in own]
    num_rows = min(len(test), test_rows)
    written = [] if examples[0].choices else [(len(r.input_ids), len(r.target_ids)) for r in flat]
    limit = encoder.target_limit(card.name)
    return RowSizes(
        inputs=sum(len(row.input_ids) for row in flat) / len(rows),
        answers=sum(len(row.target_ids) for row in flat) / len(rows),
        test_rows=num_rows,
        decoding_steps=decoding_steps(written, length + limit) * num_rows / len(rows),
    )


def decoding_steps(sizes: Sequence[tuple[int, int]], further: int) -> int:
    """Return the steps that decode rows with these lengths of inputs and answers, in tokens.

    A batch holds a limited number of positions, longest inputs first, each with ``further``
    positions for prompt and answer. It takes as many steps as its longest answer has tokens.
    """
    order = sorted(sizes, reverse=True)
    positions = [num_input + further for num_input, _ in order]
    groups = group_within_limit(positions, max_tokens=MIN_CACHED_POSITIONS)
    return sum(max(order[number][1] for number in group) for group in groups if group)
