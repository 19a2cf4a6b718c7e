"""Read JSON Lines: one record a line, with a label, a text, options or spans. Knows no cards."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import load_lines
from clinprompt.tasks.readers.generic.offsets import WrittenSpan, counting_of, offset_notes
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record, Span, SpansAnswer

_EACH = 'write each as {"start": 0, "end": 4, "label": "DRUG"} or [0, 4, "DRUG"]'


class JsonlReader(Settings):
    """Read one JSON object per line; ``row`` says what its values become.

    ``spans`` is the key of a list of mentions in the field ``text``, in a form that ``parse_span``
    reads; a line without it has no mentions. A mention that is repeated is kept once. If mentions
    bring their texts, the file's way to count offsets is found from them (see ``offsets.py``).
    White space at the ends of a mention is left out.
    """

    name: Literal["jsonl"]
    row: RowShape
    spans: str = ""

    @model_validator(mode="after")
    def _spans_need_text(self) -> Self:
        if self.spans and (self.row.label or self.row.text or "text" not in self.row.fields):
            raise ValueError("spans needs row.fields.text and neither row.label nor row.text")
        return self

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per line and skip blank lines.

        Raises:
            DataError: a line is not a JSON object, has no value for a key of ``row``, or has a span
                outside the text or with another text than its own.
        """
        if self.spans:
            yield from self._with_spans(file)
            return
        for number, values in load_lines(file):
            with file.errors_at(number):
                yield self.row.record(values, f"{file.stem}:{number}")

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        if self.spans:
            lines = [(record.text, spans) for _, record, spans in self._lines(file)]
            yield from offset_notes([span.written(text) for text, own in lines for span in own])

    def _with_spans(self, file: DataFile) -> Iterator[Record]:
        lines = tuple(self._lines(file))
        counting = counting_of(
            file, [(number, span.written(one.text)) for number, one, own in lines for span in own]
        )
        for number, record, spans in lines:
            with file.errors_at(number):
                counted = {span.counted(record.text, counting) for span in spans}
                yield replace(record, answer=SpansAnswer(tuple(sorted(counted))))

    def _lines(self, file: DataFile) -> Iterator[tuple[int, Record, tuple[WrittenSpan, ...]]]:
        """Yield number, record and mentions of each line."""
        shape = self.row.model_copy(update={"verbatim": True})
        for number, values in load_lines(file):
            with file.errors_at(number):
                record = shape.record(values, f"{file.stem}:{number}")
                yield number, record, self._mentions(values)

    def _mentions(self, values: Mapping[str, object]) -> tuple[WrittenSpan, ...]:
        mentions = values.get(self.spans)
        if not isinstance(mentions, list | None):
            raise DataError(f"{self.spans} must be a list of mentions; {_EACH}")
        found = [parse_span(value) for value in mentions or ()]
        spans = tuple(one[1] for one in found if one)
        if len(spans) < len(found):
            raise DataError(
                f"a span needs whole numbers for start and end and a text for label; {_EACH}"
            )
        return spans


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
