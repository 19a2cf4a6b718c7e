"""Train shadow prompts, each on other rows of one pool, and keep the loss of each row with each.

A finished shadow is one line of ``shadows.jsonl`` in the folder of the run. The line has numbers
only: no text, no trained vectors.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from clinprompt.backbone.bank import Bank
from clinprompt.batches.encode import Row
from clinprompt.batches.mixture import balanced_draws
from clinprompt.errors import DataError, RunError, number_of
from clinprompt.files import append_line, complete_lines
from clinprompt.jobs.fit_method import (
    MethodFit,
    bank_of,
    fit_method,
    fit_methods,
    split_rows,
    steps_of,
)
from clinprompt.methods.method import Method, Start
from clinprompt.runs.candidates import Candidates
from clinprompt.runs.workspace import Workspace
from clinprompt.training.row_losses import row_losses

LEAST_ROWS = 8  # that a prompt was trained on, and others; with fewer, no interval means anything
SHADOWS_FILE = "shadows.jsonl"


@dataclass(frozen=True, slots=True)
class Division:
    """Which rows of a pool a prompt was trained on, and which only chose its best state."""

    trained: tuple[int, ...]
    held: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A finished shadow: how it used the rows of the pool, and the loss of each row, in nats."""

    number: int
    trained: tuple[int, ...]
    held: tuple[int, ...]
    losses: tuple[float, ...]


_SHADOW = TypeAdapter(Shadow)


@dataclass(frozen=True, slots=True)
class Pool:
    """The rows of an audit; ``drawn`` are the numbers of those that the prompt was given."""

    rows: tuple[Row, ...]
    drawn: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShadowSpec:
    """How the shadows of a prompt are trained: as the prompt was, except for rows and seed.

    ``key`` identifies the prompt among others that are audited in the same folder.
    """

    method: Method
    start: Start
    key: str

    def division(self, pool: "Pool", drawn: Sequence[int], seed: int) -> Division:
        """Return how training with a seed uses the rows of a pool that it is given."""
        config = self.start.config
        rows = [pool.rows[row] for row in drawn]
        steps = steps_of(self.method, config.adapt, len(rows))
        kept, held = split_rows(rows, config, steps, seed=seed)
        return Division(tuple(drawn[row] for row in kept), tuple(drawn[row] for row in held))

    def fit(self, number: int, rows: Sequence[Row], num_shadows: int) -> MethodFit:
        """Return the training of one shadow."""
        start = replace(self.start, rows=rows, seed=self.seed_of(number))
        shown = f"shadow prompt {number + 1} of {num_shadows}"
        return MethodFit(self.method, start, self.name_of(number), shown)

    def name_of(self, number: int) -> str:
        """Return the name of a shadow's training in the log and of its checkpoint."""
        return f"shadows/{self.key}/{number}"

    def seed_of(self, number: int) -> int:
        """Return the seed of a shadow, which is not that of the prompt."""
        return self.start.seed + 1 + number


def pool_of(found: Candidates, count: int, *, seed: int) -> Pool:
    """Return the ``count`` rows that a prompt was given, and as many others if there are enough.

    The others are drawn as the prompt's rows were, from notes that gave it none.

    Raises:
        DataError: there are too few rows of either.
    """
    drawn = found.choose(count, seed=seed)
    notes = {found.rows[row].note for row in drawn}
    rest = [number for number, row in enumerate(found.rows) if row.note not in notes]
    if count < LEAST_ROWS or len(rest) < LEAST_ROWS:
        raise DataError(
            f"{found.name}: the prompt was trained on {number_of(count, 'row')}, and the notes "
            f"that it was not trained on have {number_of(len(rest), 'row')}; an audit needs at "
            f"least {LEAST_ROWS} of both. Adapt with --shots of at most half of the rows, in "
            "Python shots, and audit that prompt"
        )
    chosen = found.only(rest).choose(min(count, len(rest)), seed=seed)
    numbers = sorted([*drawn, *(rest[row] for row in chosen)])
    places = {row: place for place, row in enumerate(numbers)}
    return Pool(tuple(found.rows[row] for row in numbers), tuple(places[row] for row in drawn))


def train_shadows(
    spec: ShadowSpec, pool: Pool, workspace: Workspace, *, num_shadows: int, together: int
) -> list[Shadow]:
    """Train the missing shadows, ``together`` side by side; return all of them.

    Each is trained on as many rows as the prompt, drawn from the pool so that all rows are used
    equally often. If half of the pool are the prompt's rows, these are random halves.

    Raises:
        RunError: the loss is not finite, or the folder cannot be read or written.
    """
    path = workspace.folder / SHADOWS_FILE
    known = {shadow.number: shadow for shadow in _known(path, spec.key)}
    for number in known:  # a killed process may have left the checkpoint of a finished shadow
        workspace.forget(spec.name_of(number))
    draws = balanced_draws(len(pool.rows), len(pool.drawn), draws=num_shadows, seed=spec.start.seed)
    missing = [number for number in range(num_shadows) if number not in known]
    for first in range(0, len(missing), together):
        numbers = missing[first : first + together]
        fits = [
            spec.fit(number, [pool.rows[row] for row in draws[number]], num_shadows)
            for number in numbers
        ]
        for number, bank in zip(numbers, _banks(fits, workspace), strict=True):
            division = spec.division(pool, draws[number], spec.seed_of(number))
            losses = tuple(row_losses(spec.start.backbone, bank, pool.rows))
            known[number] = Shadow(number, division.trained, division.held, losses)
            line = {"prompt": spec.key, **asdict(known[number])}
            append_line(path, json.dumps(line), is_private=True)
        for fit in fits:
            workspace.forget(fit.name)
    return [known[number] for number in range(num_shadows)]


def _banks(fits: Sequence[MethodFit], workspace: Workspace) -> Iterator[Bank]:
    """Yield the trained prompt of each fit, as a bank of its own."""
    if len(fits) == 1:
        with fit_method(fits[0], workspace) as fitted:
            yield bank_of(fits[0].start.backbone, [fitted.tuner])
        return
    for fit, fitted in zip(fits, fit_methods(fits, workspace), strict=True):
        yield bank_of(fit.start.backbone, [fitted.tuner])


def _known(path: Path, key: str) -> Iterator[Shadow]:
    """Yield the finished shadows of a prompt; an incomplete last line does not count."""
    lines, _ = complete_lines(path)
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            if values.pop("prompt") == key:
                yield _SHADOW.validate_python(values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(
                f"{path}: line {number} is damaged; delete it, and its shadow prompt is trained "
                "again"
            ) from error
