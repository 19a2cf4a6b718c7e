"""Count the tokens and operations of rows that are read, trained on or answered, and their time.

Everything follows from the sizes of the backbone and of rows; nothing is loaded. Knows nothing of
the parts of a run.

Axes: L layers, A query heads, D head size, P prompt positions.
"""

from dataclasses import astuple, dataclass
from typing import Literal

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.jobs.planning.memory import computed_positions
from clinprompt.jobs.planning.speed import Speed
from clinprompt.settings.run import RunConfig


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work, which can be added to another.

    ``read`` and ``trained`` are floating-point operations, forward only and forward with backward.
    ``decoding_steps`` counts the passes for one more token of each answer of a batch, ``decoded``
    the rows of all these passes. ``tokens`` counts all positions that are computed. ``seconds`` is
    time for anything else.
    """

    tokens: float = 0
    read: float = 0
    trained: float = 0
    decoding_steps: float = 0
    decoded: float = 0
    seconds: float = 0

    def __add__(self, other: "Amount") -> "Amount":
        """Return the sum of two amounts."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Amount(*(one + another for one, another in pairs))

    def times(self, count: float) -> "Amount":
        """Return this amount ``count`` times."""
        return Amount(*(count * one for one in astuple(self)))


@dataclass(frozen=True, slots=True)
class Phase:
    """The work in one part of a run; ``operations`` are all floating-point operations.

    If it ``is_shared``, several processes can do parts of it at the same time.
    """

    name: str
    steps: int
    tokens: int
    operations: float
    work: Amount
    is_shared: bool = False

    def seconds(self, speed: Speed) -> float:
        """Return the duration at a speed."""
        work = self.work
        read, trained = work.read / speed.reading, work.trained / speed.training
        decoded = work.decoding_steps * speed.step_seconds + work.decoded * speed.row_seconds
        return read + trained + decoded + work.seconds


@dataclass(frozen=True, slots=True)
class AnswerWork:
    """What one answer to each test row takes, over all rows.

    ``rows`` are the inputs that are read (a long one is read in parts), each of ``inputs`` tokens
    on average. To score labels, ``further`` tokens are read for each. Other answers take
    ``decoding_steps`` passes, with ``decoded`` rows in all of them.
    """

    rows: float
    inputs: float
    further: float = 0
    decoding_steps: float = 0
    decoded: float = 0


Calibrated = Literal["nothing", "labels", "lists"]


@dataclass(frozen=True, slots=True)
class RowSizes:
    """Mean lengths of a task's training rows in tokens, its numbers of rows, and its test rows.

    ``calibrated`` says what a calibration of the task corrects: see ``jobs.calibrate``.
    """

    inputs: float
    answers: float
    train_rows: int
    validation_rows: int
    calibrated: Calibrated
    test: AnswerWork


@dataclass(frozen=True, slots=True)
class Counter:
    """Count the work of rows with the settings and the backbone of a run.

    For each position, a weight costs 2 operations forward and 2 backward (frozen weights have no
    gradient). Attention costs 4·A·D operations for each layer, query and key forward, and twice as
    many backward. The head is computed where a token is predicted. With ``reads_prompt`` every row
    has a prompt; ``shown`` is the number of tokens of solved examples before it.
    """

    config: RunConfig
    outline: ModelSizes
    reads_prompt: bool = True
    shown: float = 0

    def read(self, inputs: float, answer: float, *, predicted: float) -> Amount:
        """Return the work of one forward pass over a row, with logits at ``predicted`` tokens."""
        linear, attention = self._row(inputs + answer, predicted)
        return Amount(tokens=inputs + answer + self._behind, read=linear + attention)

    def trained(
        self, rows: float, inputs: float, answer: float, prompts: int, *, weights: bool = False
    ) -> Amount:
        """Return the work of a training step with ``prompts`` prompts; ``weights`` are trained."""
        linear, attention = self._row(inputs + answer, answer)
        own = computed_positions(self.config, prompts * self.config.prompt.length)
        tokens = rows * (inputs + answer + self._behind) + own
        step = rows * ((3 if weights else 2) * linear + 3 * attention)
        return Amount(tokens=tokens, trained=step + own * 4.0 * self.outline.layer_weights)

    def answered(self, test: AnswerWork) -> Amount:
        """Return the work of answers to all test rows, with what all rows share."""
        read = self.read(test.inputs, test.further, predicted=1 + test.further).times(test.rows)
        own = computed_positions(self.config, self.config.prompt.length * self.reads_prompt)
        once = self.shown + own
        shared = Amount(tokens=once, read=once * 2.0 * self.outline.layer_weights)
        decoded = Amount(
            tokens=test.decoded, decoding_steps=test.decoding_steps, decoded=test.decoded
        )
        return read + shared + decoded

    @property
    def _behind(self) -> int:
        """Return the prompt positions of every row, between its input and its answer."""
        is_behind = self.reads_prompt and self.config.prompt.placement == "suffix"
        return self.config.prompt.length if is_behind else 0

    def _row(self, tokens: float, predicted: float) -> tuple[float, float]:
        """Return the operations of one row forward, in products with weights and in attention."""
        outline, behind = self.outline, self._behind
        before = self.config.prompt.length * self.reads_prompt - behind + self.shown
        positions = tokens + behind
        head = predicted * outline.vocabulary_size * outline.hidden_size
        linear = 2.0 * (positions * outline.layer_weights + head)
        seen = before + positions / 2
        return linear, 4.0 * outline.num_layers * outline.query_width * positions * seen
