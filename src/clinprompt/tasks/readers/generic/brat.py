"""Read text annotated with brat: ``X.ann`` and ``X.txt`` in one folder. Knows no types by name.

Link types are the types of relations and the roles of event arguments; an event is represented by
its trigger. Offsets count the characters of the unchanged text file, so CR LF counts as two. If the
text columns of a file fit only another way to count, such as CR LF as one, it is read so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.brat_lines import (
    Attribute,
    Event,
    Line,
    Mention,
    Relation,
    parse_line,
    parse_offsets,
)
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.readers.generic.offsets import (
    Counting,
    Fragments,
    Written,
    find_counting,
    offset_notes,
)
from clinprompt.tasks.records import Record, Span

_SUFFIX = ".ann"
_UNREAD = {"A": "attributes", "M": "attributes", "#": "remarks"}  # by the letter of their lines
_Lines = tuple[tuple[int, Line], ...]


class BratReader(Settings):
    """Read one document from each ``.ann`` file; its id is the file's path without the suffix.

    A mention in several fragments is read as one span from the first to the last, because brat also
    splits mentions at line ends. Whitespace at the ends of a mention is left out.

    """

    name: Literal["brat"]
    view: View = Field(description="which task to make of a document")
    values: tuple[str, ...] = Field(
        default=(),
        description="names of attributes; a link to a mention that has one gets the type "
        "`LINK:VALUE`",
    )
    event_types: bool = Field(
        default=False,
        description="whether a link from an event has the event's type in its own: `EVENT.ROLE`",
    )
    group_before: str = Field(
        default="",
        description='with `"_"`, files whose names are equal before the first `_` form one group',
    )
    corrected: dict[str, str] = Field(
        default_factory=dict,
        description="for `DOCUMENT:ID`, the right offsets of a mention, if its own are wrong or "
        "its text column is damaged; that column is then not checked",
    )

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if (self.values or self.event_types) and self.view.answer == "entities":
            raise ValueError("values and event_types have no effect with view.answer = 'entities'")
        return self

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records of one annotated text.

        Raises:
            DataError: the file is no ``.ann`` file, its text is missing, or a line is damaged,
                names a missing mention, or has a text column that does not match its offsets.
        """
        yield from self.view.records(self._document(file))

    def notes(self, file: DataFile) -> Iterator[str]:
        """Yield what is read differently from how it is written, one line each."""
        text, name = _text_beside(file), _document_name(file)
        yield from offset_notes(self._written(tuple(_parsed(file)), name, text))

    def _document(self, file: DataFile) -> Document:
        name = _document_name(file)
        folder, slash, last = name.rpartition("/")
        text = _text_beside(file)
        lines = tuple(_parsed(file))
        spans = dict(self._spans(file, lines, name, text))
        group = last.partition(self.group_before)[0] if self.group_before else last
        return Document(
            name,
            text,
            {key: (span,) for span, key in _first_keys(spans).items()},
            tuple(dict.fromkeys(self._links(file, lines, spans))),
            f"{folder}{slash}{group}",
        )

    def _spans(
        self, file: DataFile, lines: _Lines, name: str, text: str
    ) -> Iterator[tuple[str, Span]]:
        """Yield the id and the span of each mention."""
        seen: set[str] = set()
        counting = self._counting(lines, name, text)
        for number, line in lines:
            if not isinstance(line, Mention):
                continue
            if line.id in seen:
                raise file.error(f"{line.id} appears twice in this file; rename one", number)
            seen.add(line.id)
            corrected = self.corrected.get(f"{name}:{line.id}")
            with file.errors_at(number):
                fragments = (
                    _checked(line, text, counting)
                    if corrected is None
                    else parse_offsets(corrected)
                )
                start, end = _whole_span(fragments, text)
            yield line.id, Span(start, end, line.type)
        for key in self.corrected:
            document, _, mention = key.rpartition(":")
            if document == name and mention not in seen:
                raise file.error(f"reader.corrected names {mention}, which is not in this file")

    def _counting(self, lines: _Lines, name: str, text: str) -> Counting:
        """Return how the offsets of the mentions that are not corrected are counted."""
        return find_counting(self._written(lines, name, text))

    def _written(self, lines: _Lines, name: str, text: str) -> list[Written]:
        """Return the mentions that are not corrected, as they are in the file."""
        return [
            Written(text, line.fragments, line.shown)
            for _, line in lines
            if isinstance(line, Mention) and f"{name}:{line.id}" not in self.corrected
        ]

    def _links(self, file: DataFile, lines: _Lines, spans: Mapping[str, Span]) -> Iterator[Link]:
        """Yield the links of relations and events; of mentions with equal spans, link the first."""
        firsts = _first_keys(spans)
        triggers = {line.id: line.trigger.id for _, line in lines if isinstance(line, Event)}

        def mention(name: str, number: int) -> str:
            found = triggers.get(name, name)
            if found not in spans:
                raise file.error(f"names {name}, which is not annotated; correct the line", number)
            return found

        values: dict[str, str] = {}
        for number, attribute in self._valued(file, lines):
            target = mention(attribute.target, number)
            if target in values:
                raise file.error("a second value for one mention; correct reader.values", number)
            values[target] = attribute.value
        for number, line in lines:
            for kind, *ends in _ends(line, event_types=self.event_types):
                head, tail = (mention(end, number) for end in ends)
                shown = f"{kind}:{values[tail]}" if tail in values else kind
                yield Link(shown, firsts[spans[head]], firsts[spans[tail]])

    def _valued(self, file: DataFile, lines: _Lines) -> Iterator[tuple[int, Attribute]]:
        """Yield the attributes named in ``values``, with their line numbers."""
        for number, line in lines:
            if isinstance(line, Attribute) and line.name in self.values:
                if not line.value:
                    raise file.error(
                        f"{line.name} has no value here; correct reader.values", number
                    )
                yield number, line


@dataclass(frozen=True, slots=True)
class BratCounts:
    """How many mentions a file has, and how many of them are read in another form.

    ``fragmented`` mentions have words between their fragments. ``repeated`` mentions have the type
    and the span of another one after their fragments are joined. ``links`` are relations and
    events. ``unread`` counts the lines that are not read for any task, by kind.
    """

    mentions: int
    fragmented: int
    repeated: int
    links: int
    unread: Counter[str]


def count_mentions(file: DataFile) -> BratCounts:
    """Count the mentions of a file, and the annotations that are changed or left out in reading.

    Raises:
        DataError: a line is damaged, or the text is missing.
    """
    text = _text_beside(file)
    mentions = [line for _, line in _parsed(file) if isinstance(line, Mention)]
    counting = find_counting([Written(text, line.fragments, line.shown) for line in mentions])
    fragments = [counting.fragments(text, line.fragments) for line in mentions]
    kept = {
        (*_trimmed(own, text), mention.type)
        for own, mention in zip(fragments, mentions, strict=True)
    }
    return BratCounts(
        mentions=len(mentions),
        fragmented=sum(_has_gap(sorted(own), text) for own in fragments),
        repeated=len(mentions) - len(kept),
        links=sum(line[:1] in ("R", "E") for _, line in file.lines()),
        unread=Counter(_UNREAD[line[0]] for _, line in file.lines() if line[:1] in _UNREAD),
    )


def _has_gap(fragments: Sequence[tuple[int, int]], text: str) -> bool:
    """Return whether there are words between fragments."""
    return any(text[end:start].strip() for (_, end), (start, _) in pairwise(fragments))


def _document_name(file: DataFile) -> str:
    if not file.place.endswith(_SUFFIX):
        raise file.error("not an .ann file; brat's annotation is in these: name *.ann in files")
    return file.place.removeprefix("./").removesuffix(_SUFFIX)


def _text_beside(file: DataFile) -> str:
    name = file.place.rpartition("/")[2]
    return file.sibling(f"{name.removesuffix(_SUFFIX)}.txt").text()


def _parsed(file: DataFile) -> Iterator[tuple[int, Line]]:
    for number, line in file.lines():
        with file.errors_at(number):
            parsed = parse_line(line)
        if parsed is not None:
            yield number, parsed


def _checked(mention: Mention, text: str, counting: Counting) -> Fragments:
    """Return the mention's fragments after checking that they cover the text on its line."""
    fragments = counting.fragments(text, mention.fragments)
    start, end = min(mention.fragments)[0], max(end for _, end in mention.fragments)
    if max(end for _, end in fragments) > len(text):
        raise DataError(
            f"the offsets {start}-{end} lie beyond the text of {len(text)} characters; "
            f"{_likely_cause(text)}, or is the .ann of another text?"
        )
    covered = " ".join(text[start:end] for start, end in fragments)
    if covered.split() != mention.shown.split():
        raise DataError(
            f"the text column is not what the offsets {start}-{end} cover; {_likely_cause(text)}? "
            "If this line alone is wrong, correct its offsets in the .ann file"
        )
    return fragments


def _likely_cause(text: str) -> str:
    if "\r\n" in text:
        return "its line ends are CR LF, two characters each; does the .ann count some as one"
    return "was the .txt changed after it was annotated, its line ends perhaps"


def _whole_span(fragments: Fragments, text: str) -> tuple[int, int]:
    """Return start and end from the first fragment to the last, without blanks at the ends."""
    start, end = _trimmed(fragments, text)
    if max(end for _, end in fragments) > len(text) or start >= end:
        raise DataError("a mention covers no words of the text; correct its offsets")
    return start, end


def _trimmed(fragments: Fragments, text: str) -> tuple[int, int]:
    start, end = min(fragments)[0], max(end for _, end in fragments)
    covered = text[start:end]
    return start + len(covered) - len(covered.lstrip()), start + len(covered.rstrip())


def _first_keys(spans: Mapping[str, Span]) -> dict[Span, str]:
    """Return the first id of each span; a mention that is annotated twice is one entity."""
    firsts: dict[Span, str] = {}
    for key, span in spans.items():
        firsts.setdefault(span, key)
    return firsts


def _ends(line: Line, *, event_types: bool) -> Iterator[tuple[str, str, str]]:
    """Yield type, head and tail of each link on a line."""
    match line:
        case Relation():
            yield line.type, line.head.id, line.tail.id
        case Event():
            before = f"{line.trigger.role}." if event_types else ""
            for argument in line.arguments:
                yield f"{before}{argument.role}", line.trigger.id, argument.id
