"""Time decoding with and without constraints: rows that list words of synthetic notes.

All answers have the same number of tokens: without constraints, ends are ignored; with them, the
masks are computed as usual, but each row writes a given list of its note's words. Both ways are
measured in turn, after a run of each that does not count. The shortest time counts, because other
programs only make it longer. The time to read the inputs is subtracted. New constraints are made
in every repeat, as for new notes, and their time counts.
"""

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinprompt.backbone.answer_tokens import AnswerTokens, answer_tokens
from clinprompt.backbone.bank import Bank
from clinprompt.backbone.constraint import Constraint
from clinprompt.backbone.decode import write
from clinprompt.backbone.grammar import LineConstraint
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.batches.encode import Encoder, Row, make_encoder
from clinprompt.runs.examples import examples_of
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, make_example
from clinprompt.tasks.kinds.labels import label_words
from clinprompt.tasks.records import Record

_WORDS_IN_A_MENTION = 2


class _Forced:
    """A constraint that is asked as usual, but leaves only the next of the given tokens."""

    def __init__(self, own: LineConstraint, tokens: Sequence[int]) -> None:
        self._own, self._tokens, self._count = own, tokens, 0

    def allowed(self) -> NDArray[np.int64]:
        """Return the next token, which the constraint allows."""
        token = self._tokens[self._count]
        assert token in self._own.allowed(), f"token {self._count} is not allowed"
        return np.array([token])

    def lowered(self) -> tuple[NDArray[np.int64], float]:
        """Lower no token."""
        return self._own.lowered()

    def ends(self) -> tuple[int, ...]:
        """Never end the answer, however unlikely the given tokens are."""
        return ()

    def accept(self, token: int) -> None:
        """Continue after a token."""
        self._own.accept(token)
        self._count += 1


def measure(*, rows: int, notes_in_a_row: int, tokens: int, repeats: int) -> dict[str, Any]:
    """Return the least milliseconds a step takes for all rows, and the ratio of both ways."""
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
    forced = [_answer(encoder, data.card, note)[:tokens] for note in notes]
    assert min(map(len, forced)) == tokens, f"shortest answer: {min(map(len, forced))} tokens"
    times: dict[str, list[float]] = {"read": [], "free": [], "constrained": []}
    for _ in range(1 + repeats):
        free: list[Constraint | None] = [None] * rows
        times["read"].append(_seconds(backbone, encoded, free, 1))
        times["free"].append(_seconds(backbone, encoded, free, tokens))
        started = perf_counter()
        known = answer_tokens(backbone, backbone.end_ids | {encoder.end_id})
        rules = [
            _Forced(_constraint(known, encoder, data.card, note), answer)
            for note, answer in zip(notes, forced, strict=True)
        ]
        made = perf_counter() - started
        times["constrained"].append(made + _seconds(backbone, encoded, rules, tokens))
    read, free_time, constrained = (min(taken[1:]) for taken in times.values())
    return {
        "rows": rows,
        "input tokens": statistics.mean(len(row) for row in encoded),
        "answer tokens": tokens,
        "free, milliseconds a step": 1000 * (free_time - read) / tokens,
        "constrained, milliseconds a step": 1000 * (constrained - read) / tokens,
        "ratio": (constrained - read) / (free_time - read),
    }


def _answer(encoder: Encoder, card: TaskCard, note: Record) -> tuple[int, ...]:
    """Return the tokens of an answer that lists all words of a note, as mentions of one type."""
    words = note.text.split()
    starts = range(0, len(words), _WORDS_IN_A_MENTION)
    mentions = [" ".join(words[at : at + _WORDS_IN_A_MENTION]) for at in starts]
    kind = f"{label_words(card)[0]}: " if len(card.labels) > 1 else ""
    return encoder.encode_target("\n".join(kind + mention for mention in mentions))[:-1]


def _constraint(
    tokens: AnswerTokens, encoder: Encoder, card: TaskCard, note: Record
) -> LineConstraint:
    allowed = kind_of(card).allowed
    assert allowed is not None
    return LineConstraint(tokens, allowed(card, note), start=encoder.answer_start)


def _seconds(
    backbone: Backbone, rows: Sequence[Row], rules: Sequence[Constraint | None], tokens: int
) -> float:
    """Return the time to read rows and to write a number of tokens to each."""
    started = perf_counter()
    written = write(
        backbone, rows, Bank(), limits=[tokens] * len(rows), end_ids=(), constraints=rules
    )
    seconds = perf_counter() - started
    assert {len(one.ids) for one in written} == {tokens}
    return seconds
