"""Time decoding with and without constraints: rows that list words of made-up notes.

The time is given for each step of all rows, with the reading of the inputs. Constraints are made
anew in every repeat, as for new notes.
"""

import statistics
from time import perf_counter
from typing import Any

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.decode import write
from clinprompt.backbone.grammar import LineConstraint, answer_tokenizer
from clinprompt.backbone.load import load_backbone
from clinprompt.batches.encode import make_encoder
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.task_rows import examples_of
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.records import Record


def measure(*, rows: int, notes_in_a_row: int, repeats: int) -> dict[str, Any]:
    """Return the median milliseconds a step takes for all rows, and the ratio of both ways."""
    backbone = load_backbone("smollm2-135m")
    encoder = make_encoder(backbone.tokenizer, DataSettings())
    suite = load_suite("practice", DataSettings(), None)
    data = next(task for task in suite.sources if kind_of(task.card).allowed)
    found = examples_of(data, "train", limit=rows * notes_in_a_row, seed=0)
    texts = [one.record.text for one in found]
    notes = [
        Record(str(n), {"text": " ".join(texts[n * notes_in_a_row : (n + 1) * notes_in_a_row])})
        for n in range(rows)
    ]
    encoded = [encoder.encode(make_example(data.card, note)) for note in notes]
    ends = backbone.end_ids | {encoder.end_id}
    tokenizer, allowed = answer_tokenizer(backbone, ends), kind_of(data.card).allowed
    assert allowed is not None
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repeats):
        for is_constrained, taken in times.items():
            started = perf_counter()
            rules = [
                LineConstraint(tokenizer, allowed(data.card, note), start=encoder.answer_start)
                if is_constrained
                else None
                for note in notes
            ]
            written = write(
                backbone,
                encoded,
                Bank(),
                limits=[encoder.max_target_tokens] * rows,
                end_ids=ends,
                constraints=rules,
            )
            steps = max(len(one.ids) for one in written) + 1
            taken.append(1000 * (perf_counter() - started) / steps)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        "rows": rows,
        "input tokens": statistics.mean(len(row) for row in encoded),
        "free, milliseconds a step": medians[False],
        "constrained, milliseconds a step": medians[True],
        "ratio": medians[True] / medians[False],
    }
