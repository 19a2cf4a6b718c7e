"""Measure the rows of a task as a run reads them: lengths, numbers of rows, decoding steps."""

from collections import deque
from collections.abc import Sequence
from statistics import fmean

from clinprompt.backbone.arena import fits, num_free
from clinprompt.backbone.decode import distinct_choices
from clinprompt.backbone.scheduler import MIN_CACHED_POSITIONS, SHARE
from clinprompt.batches.encode import Encoder
from clinprompt.batches.mixture import sample
from clinprompt.batches.parts import parts_of
from clinprompt.jobs.planning.work import AnswerWork, Calibrated, RowSizes
from clinprompt.runs.examples import encode_all, max_test_rows
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example, LabelAnswer, Record

_MEASURED_ROWS = 200


def row_sizes(data: TaskData, encoder: Encoder, config: RunConfig) -> RowSizes | None:
    """Measure samples of the training and test records of a task; None if it has none of one.

    Answers count as long as the correct ones. A training row that no method would be trained on
    (its answer is cut) does not count.

    Raises:
        DataError: a record has no answer, or lacks a field that the card's wording uses.
    """
    card, splits = data.card, data.splits
    trained = encode_all(encoder, card, _examples(card, splits.get("train", ())))
    trained = tuple(row for row in trained if not row.target_was_cut)
    test = _examples(card, splits["test"])
    if not trained or not test:
        return None
    measure = _scored if test[0].choices else _written
    num_rows = min(len(splits["test"]), max_test_rows(config.data, card))
    return RowSizes(
        inputs=fmean(len(row.input_ids) for row in trained),
        answers=fmean(len(row.target_ids) for row in trained),
        train_rows=len(splits["train"]),
        validation_rows=min(len(splits.get("validation", ())), config.data.validation_rows),
        calibrated=_calibrated(card),
        test=measure(card, test, encoder, num_rows, config.prompt.length),
    )


def _calibrated(card: TaskCard) -> Calibrated:
    kind = kind_of(card)
    return "lists" if kind.allowed else "labels" if kind.answer is LabelAnswer else "nothing"


def encoded_share(data: TaskData, config: RunConfig, num_cells: int) -> float:
    """Return how many times as long as ``row_sizes`` the encoding of a task's rows takes in a run.

    ``num_cells`` cells encode the test rows, one after another. All training records are encoded
    once if shots are drawn from them, otherwise at most ``data.train_rows``.
    """
    splits, grid = data.splits, config.compare
    num_train, num_test = len(splits.get("train", ())), len(splits["test"])
    draws = num_cells > 0 and any(shots != "all" for shots in grid.shots)
    trained = num_train if draws else min(num_train, config.data.train_rows)
    answered = min(num_test, max_test_rows(config.data, data.card)) * num_cells
    measured = min(num_train, _MEASURED_ROWS) + min(num_test, _MEASURED_ROWS)
    return (trained + answered) / measured


def _examples(card: TaskCard, records: Sequence[Record]) -> list[Example]:
    return [make_example(card, one) for one in sample(records, _MEASURED_ROWS, seed=0)]


def _scored(
    card: TaskCard, test: Sequence[Example], encoder: Encoder, num_rows: int, length: int
) -> AnswerWork:
    """Return the work of scoring closed answers; those of one token need no further pass."""
    del length
    further, rows = [], []
    for example in test:
        choices = distinct_choices(
            [encoder.encode_target(choice) for choice in example.choices], end_id=encoder.end_id
        )
        longer = [len(ids) for ids in choices if len(ids) > 1]
        further.append(len(longer) * max(longer, default=0))
        rows += [encoder.encode(part) for part in parts_of(card, example, encoder).examples]
    return AnswerWork(num_rows, fmean(len(row.input_ids) for row in rows), fmean(further))


def _written(
    card: TaskCard, test: Sequence[Example], encoder: Encoder, num_rows: int, length: int
) -> AnswerWork:
    """Return the work of writing answers that are as long as the correct ones."""
    rows = [
        encoder.encode(part)
        for example in test[:num_rows]
        for part in parts_of(card, example, encoder).examples
    ]
    sizes = [(len(row.input_ids), len(row.target_ids)) for row in rows]
    steps, decoded = decoding_work(sizes, length + encoder.target_limit(card.name))
    share = num_rows / len(test[:num_rows])
    inputs = fmean(num_input for num_input, _ in sizes)
    return AnswerWork(share * len(rows), inputs, 0, share * steps, share * decoded)


def decoding_work(sizes: Sequence[tuple[int, int]], further: int) -> tuple[int, int]:
    """Return the passes that decode rows with these lengths of inputs and answers, in tokens.

    The second value is the number of rows in all these passes. Rows join and leave as in
    ``Scheduler``, longest inputs first, each with ``further`` positions for prompt and answer. Its
    input predicts a row's first token, so it takes part in one pass less than its answer has
    tokens.
    """
    limit, waiting = MIN_CACHED_POSITIONS, deque(sorted(sizes, reverse=True))
    active: list[tuple[int, int]] = []  # positions that the row may reach, tokens left
    steps = decoded = 0
    while waiting or active:
        needs, left = [need for need, _ in active], limit // SHARE
        is_open = not active or num_free(needs, limit) >= limit // SHARE
        num_admitted = 0
        while is_open and waiting and fits([*needs, waiting[0][0] + further], limit):
            left -= waiting[0][0]
            if num_admitted and left < 0:
                break
            num_input, num_answer = waiting.popleft()
            needs.append(num_input + further)
            active.append((needs[-1], num_answer))
            num_admitted += 1
        active = [(need, tokens - 1) for need, tokens in active if tokens > 1]
        steps += bool(active)
        decoded += len(active)
    return steps, decoded
