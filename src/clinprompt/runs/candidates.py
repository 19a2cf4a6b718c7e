"""The training rows of a task that shots may be drawn from. Keeps nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from pydantic import TypeAdapter

from clinprompt.batches.encode import Encoder, Row
from clinprompt.batches.mixture import draw_annotated, draw_shots
from clinprompt.errors import DataError, number_of
from clinprompt.runs.examples import encoded_parts, shows_its_answer, training_examples
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example, LabelAnswer, Record


@dataclass(frozen=True, slots=True)
class Candidates:
    """Training examples that may be drawn as shots, with their rows and labels ("": no label).

    ``types`` are the types of the mentions or links of each row; None if the task lists none.
    ``num_too_long`` rows have a longer answer than ``limit`` tokens, ``num_cut`` rows lost
    annotated text, and ``copies`` records have the text of a test record; none may be drawn.
    """

    name: str
    limit: int
    examples: tuple[Example, ...]
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    types: tuple[frozenset[str], ...] | None = None
    num_too_long: int = 0
    num_cut: int = 0
    copies: int = 0

    def draw(self, count: int, *, seed: int) -> tuple[Row, ...]:
        """Return ``count`` random rows; labels of a closed set are drawn equally often.

        Of rows that list mentions or links, at least three in four have one, and every type occurs
        if ``count`` allows it; see ``draw_annotated``.

        Raises:
            DataError: fewer than ``count`` rows have an answer that fits.
        """
        return tuple(self.rows[index] for index in self.choose(count, seed=seed))

    def records(self, count: int, *, seed: int) -> tuple[Record, ...]:
        """Return the records of the rows that ``draw`` returns, in random order.

        So if only the first of them can be shown, these are a random choice too.
        """
        chosen = np.random.default_rng(seed).permutation(self.choose(count, seed=seed))
        return tuple(self.examples[index].record for index in chosen)

    def only(self, rows: Sequence[int]) -> "Candidates":
        """Return the candidates with some of their rows."""
        return replace(
            self,
            examples=tuple(self.examples[index] for index in rows),
            rows=tuple(self.rows[index] for index in rows),
            labels=tuple(self.labels[index] for index in rows),
            types=None if self.types is None else tuple(self.types[index] for index in rows),
        )

    def choose(self, count: int, *, seed: int) -> tuple[int, ...]:
        """Return the numbers of the rows that ``draw`` returns, in ascending order.

        Raises:
            DataError: fewer than ``count`` rows have an answer that fits.
        """
        if len(self.rows) < count:
            raise DataError(
                f"{self.name}: {number_of(count, 'example')} wanted, but only "
                f"{number_of(len(self.rows), 'training row')} can be used; {_lost_rows(self)}"
            )
        if self.types is not None:
            return draw_annotated(self.types, count, seed=seed)
        return draw_shots(self.labels, count, seed=seed)


@cache
def kind_of_candidates() -> TypeAdapter[Candidates]:
    """Return the description by which candidates are written to a file, and read from it."""
    return TypeAdapter(Candidates)


def candidates(encoder: Encoder, data: TaskData, *, seed: int) -> Candidates:
    """Return the rows that shots are drawn from: all training rows whose answer fits.

    A row is one input of the model: a whole note, or one window of a long note. The rows that
    ``training_rows`` leaves out are not among them.
    """
    every = training_examples(data, limit=len(data.splits["train"]), seed=seed)
    encoded = tuple(encoded_parts(encoder, data.card, every))
    fitting = [pair for pair in encoded if shows_its_answer(data.card, pair[1])]
    listing = kind_of(data.card).listing
    answers = [example.record.answer for example, _ in fitting]
    num_too_long = sum(row.target_was_cut for _, row in encoded)
    return Candidates(
        data.card.name,
        encoder.target_limit(data.card.name),
        tuple(example for example, _ in fitting),
        tuple(row for _, row in fitting),
        tuple(answer.label if isinstance(answer, LabelAnswer) else "" for answer in answers),
        tuple(frozenset(listing.types(answer)) for answer in answers) if listing else None,
        num_too_long,
        len(encoded) - len(fitting) - num_too_long,
        data.copies,
    )


def _lost_rows(found: Candidates) -> str:
    """Return why rows cannot be drawn, and what to do: for each cause, and for shots."""
    lost, remedies = [], ["ask for fewer" if found.rows else "add training records"]
    if found.copies:
        copies = number_of(found.copies, "training record has", "training records have")
        lost.append(f"{copies} the text of a test record")
        remedies.append("put equal texts into one split")
    if found.num_too_long:
        answers = number_of(found.num_too_long, "answer is", "answers are")
        lost.append(f"{answers} longer than {found.limit} tokens")
        remedies.append("raise data.max_target_tokens (for this task: data.target_tokens)")
    if found.num_cut:
        inputs = number_of(found.num_cut, "input loses", "inputs lose")
        lost.append(f"{inputs} annotated text by being cut")
        remedies.append("raise data.max_input_tokens")
    why = f"{' and '.join(lost)}: " if lost else ""
    return f"{why}{', or '.join(remedies)}"
