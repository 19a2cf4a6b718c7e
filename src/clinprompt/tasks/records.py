"""The values that a task is made of. Knows nothing of files, wording or models.

A *record* is one entry of a data set with its *answer*. A card's wording turns it into an
*example*: the text that a language model reads and the text that it should write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clinprompt.errors import DataError


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A typed part of ``record.text``: from character ``start`` up to but not including ``end``."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """A typed link from ``head`` to ``tail``."""

    type: str
    head: Span
    tail: Span


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """One of the card's labels, or the letter of an option for multiple choice."""

    label: str


@dataclass(frozen=True, slots=True)
class SpansAnswer:
    """Entity mentions in order of appearance.

    ``ungrounded_lines`` are the lines of the model's output that name no mention of the text.
    """

    spans: tuple[Span, ...]
    ungrounded_lines: tuple[str, ...] = ()

    @property
    def ungrounded(self) -> int:
        """Return how many lines name no mention of the text."""
        return len(self.ungrounded_lines)


@dataclass(frozen=True, slots=True)
class RelationsAnswer:
    """Typed links in order of appearance.

    ``ungrounded_lines`` are the lines of the model's output that name no link between two mentions
    of the text.
    """

    relations: tuple[Relation, ...]
    ungrounded_lines: tuple[str, ...] = ()

    @property
    def ungrounded(self) -> int:
        """Return how many lines name no link between two mentions of the text."""
        return len(self.ungrounded_lines)


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """Free text on one line, see ``one_line``."""

    text: str


@dataclass(frozen=True, slots=True)
class Unparseable:
    """Model output that does not have the format of an answer; it counts as wrong and is kept."""

    text: str


Answer = LabelAnswer | SpansAnswer | RelationsAnswer | TextAnswer | Unparseable


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a data set.

    ``fields`` are the values that the wording may name; offsets count characters of
    ``fields["text"]``. ``options`` are the options of a multiple-choice question, beginning with A.
    Records with the same ``group`` stay in one split. ``answer`` is None if it is not known.
    """

    id: str
    fields: Mapping[str, str]
    answer: Answer | None = None
    options: tuple[str, ...] = ()
    group: str = ""

    def __post_init__(self) -> None:
        self._check_texts()
        for span in spans_of(self.answer):
            if not 0 <= span.start < span.end <= len(self.text):
                raise DataError(
                    f"record {self.id}: span {span.start}-{span.end} ({span.type}) is outside "
                    f"its text of {len(self.text)} characters; offsets count from 0 and the end "
                    "is exclusive"
                )

    def _check_texts(self) -> None:
        texts = [self.id, self.group, *self.fields.values(), *self.options]
        match self.answer:
            case LabelAnswer(text) | TextAnswer(text):
                texts.append(text)
        if wrong := [type(text).__name__ for text in texts if not isinstance(text, str)]:
            raise DataError(
                f"record {self.id!r}: id, group, fields, options and answers are texts, but one is "
                f"of type {wrong[0]}; write an empty text instead of None"
            )
        if not self.id:
            raise DataError("a record has an empty id; give every record a different id")
        try:
            for text in texts:
                text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"record {self.id!a}: a text has half a character (a lone surrogate); correct it"
            ) from error

    @property
    def text(self) -> str:
        """Return the text that offsets refer to, or nothing for tasks without spans."""
        return self.fields.get("text", "")


@dataclass(frozen=True, slots=True)
class Example:
    """A record as text: what the model reads (``input``) and what it should write (``target``).

    ``pieces`` are the parts of the input in order: wording, field, wording, field, ..., wording.
    Only the fields (at odd positions) may be cut if the input is too long. ``choices`` are the
    possible targets of a set of labels; if empty, the answer is written freely. ``target`` is None
    if the answer is not known. ``instruction`` says in words what to do; the input form decides
    whether it is shown. ``is_shortened`` says that the input has only a part of a field.
    """

    task: str
    record: Record
    pieces: tuple[str, ...]
    target: str | None
    choices: tuple[str, ...] = field(default=())
    instruction: str = ""
    is_shortened: bool = False

    @property
    def input(self) -> str:
        """Return the whole input text."""
        return "".join(self.pieces)


def one_line(text: str) -> str:
    """Return the text with every run of whitespace as a single blank, and none at its ends."""
    return " ".join(text.split())


def spans_of(answer: Answer | None) -> tuple[Span, ...]:
    """Return every span that an answer mentions."""
    if isinstance(answer, SpansAnswer):
        return answer.spans
    if isinstance(answer, RelationsAnswer):
        return tuple(
            span for relation in answer.relations for span in (relation.head, relation.tail)
        )
    return ()
