"""Read the 2012 i2b2 challenge: events and temporal links, from its ``.xml``. Knows no splits.

Of the two formats of the data set, the ``.xml`` is read: one file has text, mentions and links,
links name ids, and the merged annotation of the test archive has this format. In some files ``&``
and quotation marks are not escaped, so they are not well-formed XML and tags are found by regular
expressions. Offsets count from 1 in the text after the first line end.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Literal, NamedTuple

from pydantic import Field

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.datasets.i2b2_lines import check_words
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import Document, Link, View
from clinprompt.tasks.records import Record, Span

HEAD_TYPE, TAIL_TYPE = "from", "to"
_TEXT = re.compile(r"<TEXT>(.*?)</TEXT>", re.DOTALL)
_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)
_TAG_BEGIN = re.compile(r"<(?:EVENT|TIMEX3|SECTIME|TLINK)\s")
# A tag holds no beginning of another, so a file of unclosed tags takes linear time.
_TAG = re.compile(
    r"<(EVENT|TIMEX3|SECTIME|TLINK)\s((?:(?!<(?:EVENT|TIMEX3|SECTIME|TLINK)\s).)*?)/>"
    r"(?=\s*(?:<|\Z))",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(\w+)=\"(.*?)\"(?=\s+\w+=\"|\s*\Z)", re.DOTALL)
_OFFSET = re.compile(r"\d{1,9}")
_GAP = "\n...\n"


class _Tag(NamedTuple):
    kind: str
    values: Mapping[str, str]
    line: int


class I2b22012Reader(Settings):
    """Read one note per file with its entities, or with ``links`` one document per temporal link.

    The document of a link has the lines of its two ends, of the types "from" and "to", and the
    lines between them, or ``...`` if they are more than ``nearby`` lines apart. ``merged`` maps
    link types to a common name. A link to "Admission" or "Discharge" ends at the time tag of that
    type. Links are left out if the note has no such tag or if both ends are the same words.
    """

    name: Literal["i2b2_2012"]
    view: View
    links: bool = False
    nearby: int = Field(default=5, ge=0)
    merged: dict[str, str] = Field(default_factory=dict)

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the records of one note.

        Raises:
            DataError: the file has no text, or a tag is damaged or names an unknown id.
        """
        content = file.text().replace("\r\n", "\n")
        text = _text(file, content)
        tags = tuple(_tags(file, content))
        spans = dict(_spans(file, text, tags))
        if not self.links:
            entities = {key: (span,) for key, span in spans.items()}
            yield from self.view.records(Document(file.stem, text, entities, group=file.stem))
            return
        ends = dict.fromkeys(_links(file, tags, spans))
        for number, (kind, head, tail) in enumerate(ends, start=1):
            shown, first, second = _excerpt(text, spans[head], spans[tail], self.nearby)
            yield from self.view.records(
                Document(
                    f"{file.stem}:{number}",
                    shown,
                    {head: (first,), tail: (second,)},
                    (Link(self.merged.get(kind, kind), head, tail),),
                    file.stem,
                )
            )


def _text(file: DataFile, content: str) -> str:
    found = _TEXT.search(content)
    if found is None:
        raise file.error("no <TEXT> element; give the .xml files, not .xml.txt or .xml.extent")
    inner = _CDATA.fullmatch(found[1])
    return (inner[1] if inner else unescape(found[1])).removeprefix("\n")


def _tags(file: DataFile, content: str) -> Iterator[_Tag]:
    """Yield the tags after the text."""
    start = content.index("</TEXT>")
    found = list(_TAG.finditer(content, start))
    if len(found) != len(_TAG_BEGIN.findall(content, start)):
        raise file.error("a tag does not end in />; correct it")
    for tag in found:
        values = {name: unescape(value) for name, value in _ATTRIBUTE.findall(tag[2].rstrip())}
        yield _Tag(tag[1], values, content.count("\n", 0, tag.start()) + 1)


def _spans(file: DataFile, text: str, tags: Sequence[_Tag]) -> Iterator[tuple[str, Span]]:
    pairs = []
    seen: set[str] = set()
    for tag in tags:
        if tag.kind == "TLINK":
            continue
        key, start, end, kind, words = _values(file, tag, "id", "start", "end", "type", "text")
        if key in seen:
            raise file.error("another tag has the same id; correct one", tag.line)
        seen.add(key)
        numbers = [int(offset) for offset in (start, end) if _OFFSET.fullmatch(offset)]
        if len(numbers) < 2 or not 1 <= numbers[0] < numbers[1] <= len(text) + 1:
            raise file.error("start and end must be in the text, counted from 1", tag.line)
        span = Span(numbers[0] - 1, numbers[1] - 1, kind)
        pairs.append((text[span.start : span.end], words))
        yield key, span
    check_words(file, pairs)


def _links(
    file: DataFile, tags: Sequence[_Tag], spans: Mapping[str, Span]
) -> Iterator[tuple[str, str, str]]:
    """Yield type, head and tail of the links between two different mentions."""
    sections = [tag.values for tag in tags if tag.kind == "SECTIME"]
    times = {values["type"].casefold(): values["id"] for values in sections}
    for tag in tags:
        if tag.kind != "TLINK":
            continue
        kind, *named = _values(file, tag, "type", "fromID", "toID")
        ends = [end if end in spans else times.get(end.casefold(), end) for end in named]
        unknown = [end for end in ends if end not in spans]
        if any(end.casefold() not in ("admission", "discharge") for end in unknown):
            raise file.error("a link names an id that no tag has; correct it", tag.line)
        if not unknown and spans[ends[0]] != spans[ends[1]]:
            yield kind.upper(), ends[0], ends[1]


def _values(file: DataFile, tag: _Tag, *names: str) -> list[str]:
    missing = [name for name in names if name not in tag.values]
    if missing:
        raise file.error(f"{tag.kind} has no readable {missing[0]}; correct its quotes", tag.line)
    return [tag.values[name] for name in names]


def _excerpt(text: str, head: Span, tail: Span, nearby: int) -> tuple[str, Span, Span]:
    """Return the lines of two mentions, and the spans of the mentions in them."""
    first, last = sorted([head, tail])
    start, middle = _lines_of(text, first)
    again, end = _lines_of(text, last)
    end = max(end, middle)
    cut = ""
    if text.count("\n", middle, again) > nearby:
        shown, cut = f"{text[start:middle]}{_GAP}{text[again:end]}", _GAP
    else:
        shown = text[start:end]
    dropped = again - middle - len(cut) if cut else 0

    def moved(span: Span, kind: str) -> Span:
        offset = start + (dropped if cut and span.start >= again else 0)
        return Span(span.start - offset, span.end - offset, kind)

    return shown, moved(head, HEAD_TYPE), moved(tail, TAIL_TYPE)


def _lines_of(text: str, span: Span) -> tuple[int, int]:
    """Return start and end of the lines of a mention."""
    end = text.find("\n", span.end)
    return text.rfind("\n", 0, span.start) + 1, len(text) if end < 0 else end
