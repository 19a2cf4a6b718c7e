"""Read JSON Lines: one record a line, with a label, a text, options, spans or links.

Knows no cards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from pydantic import Field, model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import load_lines
from clinprompt.tasks.readers.generic.offsets import (
    Counting,
    WrittenSpan,
    counting_of,
    offset_notes,
)
from clinprompt.tasks.readers.generic.rows import RowShape, similar
from clinprompt.tasks.records import Answer, Record, Relation, RelationsAnswer, Span, SpansAnswer

_EACH = 'write each as {"start": 0, "end": 4, "label": "DRUG"} or [0, 4, "DRUG"]'
_EACH_LINK = 'write each as {"label": "DOSE", "head": MENTION, "tail": MENTION}'


@dataclass(frozen=True, slots=True)
class WrittenLink:
    """A link between two mentions with the offsets of its file."""

    type: str
    head: WrittenSpan
    tail: WrittenSpan


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: its number, its record without an answer, and what is listed in it."""

    number: int
    record: Record
    spans: tuple[WrittenSpan, ...]
    links: tuple[WrittenLink, ...]

    @property
    def mentions(self) -> tuple[WrittenSpan, ...]:
        """Return every mention, those at the ends of links too."""
        return (*self.spans, *(end for link in self.links for end in (link.head, link.tail)))

    def answer(self, counting: Counting, *, are_links: bool) -> Answer:
        """Return the answer with offsets in characters.

        Raises:
            DataError: an offset is inside a character, or a mention covers only white space.
        """
        text = self.record.text
        if not are_links:
            return SpansAnswer(tuple(sorted({one.counted(text, counting) for one in self.spans})))
        links = {
            Relation(one.type, one.head.counted(text, counting), one.tail.counted(text, counting))
            for one in self.links
        }
        return RelationsAnswer(tuple(sorted(links)))


class JsonlReader(Settings):
    """Read one JSON object per line.

    A line without a list of mentions or links has none, but one line of a file must have it. A
    mention that is repeated is kept once. If mentions bring their texts, the file's way to count
    offsets is found from them. White space at the ends of a mention is left out.
    """

    name: Literal["jsonl"]
    row: RowShape = Field(description="what the values of an object become")
    spans: str = Field(
        default="",
        description="key of a list of mentions in the field `text`, in the forms of Prodigy, "
        "doccano or spaCy",
    )
    links: str = Field(
        default="",
        description="key of a list of links instead; each has a `label`, and a `head` and a `tail` "
        "that are mentions",
    )

    @model_validator(mode="after")
    def _lists_need_text(self) -> Self:
        if self.spans and self.links:
            raise ValueError("spans and links are given; a record has one answer, so give not both")
        if (self.spans or self.links) and (
            self.row.label or self.row.text or "text" not in self.row.fields
        ):
            name = "spans" if self.spans else "links"
            raise ValueError(f"{name} needs row.fields.text and neither row.label nor row.text")
        return self

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per line and skip blank lines.

        Raises:
            DataError: a line is not a JSON object, has no value for a key of ``row``, or has a span
                outside the text or with another text than its own.
        """
        if self.spans or self.links:
            yield from self._with_lists(file)
            return
        for number, values in load_lines(file):
            with file.errors_at(number):
                yield self.row.record(values, f"{file.label}:{number}")

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        if self.spans or self.links:
            lines = tuple(self._lines(file))
            yield from offset_notes(
                [one.written(line.record.text) for line in lines for one in line.mentions]
            )

    def _with_lists(self, file: DataFile) -> Iterator[Record]:
        lines = tuple(self._lines(file))
        counting = counting_of(
            file,
            [
                (line.number, one.written(line.record.text))
                for line in lines
                for one in line.mentions
            ],
        )
        for line in lines:
            with file.errors_at(line.number):
                answer = line.answer(counting, are_links=bool(self.links))
                yield replace(line.record, answer=answer)

    def _lines(self, file: DataFile) -> Iterator[_Line]:
        """Yield the lines of a file.

        Raises:
            DataError: a line is damaged, or no line at all has the key of the lists.
        """
        shape = self.row.model_copy(update={"verbatim": True})
        seen = dict[str, None]()
        for number, values in load_lines(file):
            seen |= dict.fromkeys(values)
            with file.errors_at(number):
                record = shape.record(values, f"{file.label}:{number}")
                if self.links:
                    listed = _list(values, self.links, f"links; {_EACH_LINK}")
                    yield _Line(number, record, (), tuple(map(_link, listed)))
                else:
                    listed = _list(values, self.spans, f"mentions; {_EACH}")
                    yield _Line(number, record, _mentions(listed), ())
        key = self.spans or self.links
        if seen and key not in seen:
            hint = similar(key, seen, otherwise="correct reader.spans or reader.links")
            raise file.error(
                f"no line has a list named {key!r}; {hint} (a note with nothing to find may leave "
                "it out, but not all notes of a file; give one of them an empty list)"
            )


def _list(values: Mapping[str, object], key: str, what: str) -> list[object]:
    found = values.get(key)
    if not isinstance(found, list | None):
        raise DataError(f"{key} must be a list of {what}")
    return found or []


def _mentions(values: list[object]) -> tuple[WrittenSpan, ...]:
    found = [parse_span(value) for value in values]
    spans = tuple(one[1] for one in found if one)
    if len(spans) < len(found):
        raise DataError(
            f"a span needs whole numbers for start and end and a text for label; {_EACH}"
        )
    return spans


def _link(value: object) -> WrittenLink:
    match value:
        case {"label": str(label), "head": head, "tail": tail}:
            first, last = _mentions([head, tail])
            return WrittenLink(label, first, last)
    raise DataError(f"a link needs a text for label, and two mentions; {_EACH_LINK}")


def parse_span(value: object) -> tuple[str, WrittenSpan] | None:
    """Return the form that a mention is written in and its span, or None if it has no known form.

    The forms are ``{"start", "end", "label"}`` of Prodigy, the same with the names of doccano, and
    ``[start, end, label]`` of doccano and spaCy's training data. An object may have a ``text``.
    """
    match value:
        case [start, end, label]:
            form = "[start, end, label]"
        case {"start": start, "end": end, "label": label}:
            form = '{"start", "end", "label"}'
        case {"start_offset": start, "end_offset": end, "label": label}:
            form = '{"start_offset", "end_offset", "label"}'
        case _:
            return None
    if type(start) is int and type(end) is int and isinstance(label, str):
        shown = value.get("text") if isinstance(value, dict) else None
        return form, WrittenSpan(Span(start, end, label), shown if isinstance(shown, str) else None)
    return None
