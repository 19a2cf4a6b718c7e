"""Describe what a kind of task offers. Knows no models and no single kind.

A kind is a frozen set of functions. ``table`` lists all kinds; every other part of the package asks
the kind of a card instead of comparing ``card.type`` or ``card.answer`` with a word.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.random import Generator

from clinprompt.tasks.kinds.allowed import AllowedLines
from clinprompt.tasks.kinds.listing import Listing
from clinprompt.tasks.kinds.scores import Metric
from clinprompt.tasks.long.chunks import LengthOf
from clinprompt.tasks.records import Answer, Record


class Wording(Protocol):
    """The parts of a card's wording that a kind reads."""

    @property
    def template(self) -> str:
        """Return the template of the input."""
        ...

    @property
    def cut(self) -> tuple[str, ...]:
        """Return the fields that may be cut."""
        ...

    @property
    def instructions(self) -> tuple[str, ...]:
        """Return the instruction, then other ways to say it."""
        ...


class Card(Protocol):
    """The parts of a task's card that a kind reads."""

    @property
    def name(self) -> str:
        """Return the name of the task."""
        ...

    @property
    def type(self) -> str:
        """Return the type of the task: the first word of its kind."""
        ...

    @property
    def answer(self) -> str:
        """Return the form of the answer: the second word of its kind."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Return the word of each label, by label."""
        ...

    @property
    def ends(self) -> Mapping[str, tuple[str, str]] | None:
        """Return the types of head and tail of each type of link, as far as they are known."""
        ...

    @property
    def overlap(self) -> bool | None:
        """Return whether mentions may overlap; None if it is not known."""
        ...

    @property
    def symbols(self) -> bool | None:
        """Return whether a mention may have neither letters nor digits; None if not known."""
        ...

    @property
    def positive(self) -> tuple[str, ...]:
        """Return the labels that positive F1 counts."""
        ...

    @property
    def metric(self) -> str:
        """Return the name of the metric."""
        ...

    @property
    def path(self) -> Path:
        """Return the file of the card; a card in a saved prompt has an empty path."""
        ...

    @property
    def wording(self) -> Wording:
        """Return how a record is put into words."""
        ...


Render = Callable[[Card, Record, Answer], str]
Parse = Callable[[Card, Record, str], Answer]
Shorten = Callable[[Record, tuple[str, ...], LengthOf, int], Mapping[str, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What one kind of task offers.

    ``answer`` is the class of its answers, ``empty`` the one that holds nothing, if any.

    Text: ``render`` writes an answer as text, ``parse`` reads model output (and returns
    ``Unparseable`` instead of raising), ``choices`` returns the only texts that a model may answer
    with (if there are none, it writes freely). ``allowed`` says which lines it may write, if an
    answer lists words of the text. ``items_by_line`` returns the annotation that each line of model
    output names, if an answer lists annotations. ``to_json`` returns an answer as plain JSON.

    Labels: ``has_labels`` says that the card lists labels; ``labels_for`` returns those that the
    answer to a record may have, ``labels_in`` those that an answer has.

    Scores: ``metrics`` are those that a card may name, the usual one first; ``extra_scores``
    returns further scores by name. ``chance`` returns the expected score of answers that ignore
    the text, from records with answers, training answers and a generator. ``constant`` returns the
    best single answer for all rows, from training answers.

    Long inputs: ``listing`` describes answers that list annotations of the text; such texts are
    read in windows. ``shorten`` returns the fields that replace those of a record that is too long,
    from the record, the fields that may be cut, a function that counts tokens, and a limit in
    tokens. It returns None if the middle should be cut instead, which is also what
    happens for a kind that has neither ``listing`` nor ``shorten``.

    ``has_setting`` says that the card states whether mentions are given (``gold-entities``).
    ``is_often_sentences`` says that records are often the sentences of one text, so that overlap
    is searched across records.
    """

    answer: type[Answer]
    render: Render
    parse: Parse
    to_json: Callable[[Record, Answer], dict[str, Any]]
    metrics: tuple[Metric, ...]
    chance: Callable[[Card, Sequence[Record], Sequence[Answer], Generator], float]
    constant: Callable[[Card, Sequence[Answer]], Answer]
    labels_in: Callable[[Answer], Collection[str]]
    empty: Answer | None = None
    labels_for: Callable[[Card, Record], Collection[str]] = lambda card, _: card.labels
    choices: Callable[[Card, Record], tuple[str, ...]] = lambda _, __: ()
    extra_scores: Callable[[Card, Sequence[Answer], Sequence[Answer]], dict[str, float]] = (
        lambda _, __, ___: {}
    )
    allowed: Callable[[Card, Record], AllowedLines] | None = None
    items_by_line: Callable[[Card, Record, str], tuple[Any | None, ...]] | None = None
    listing: Listing[Any] | None = None
    shorten: Shorten | None = None
    has_labels: bool = True
    has_setting: bool = False
    is_often_sentences: bool = False

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the names of the metrics that a card may name, the usual one first."""
        return tuple(metric.name for metric in self.metrics)

    def metric(self, card: Card) -> Metric:
        """Return the metric that the card names."""
        return next(metric for metric in self.metrics if metric.name == card.metric)
