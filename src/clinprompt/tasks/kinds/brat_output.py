r"""Write annotated records as brat's pairs of files: ``X.txt`` and ``X.ann``. Knows no models.

The brat reader reads back the same mentions and links, once each, with three exceptions: white
space at the ends of a mention is left out, blanks in a type become ``_``, and ends of links without
a type are called ``Mention``. Text is written unchanged, except that a byte order mark at its
beginning becomes a blank: readers would drop it, and all offsets would be wrong.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.link_ends import Ends
from clinprompt.tasks.records import Answer, Record, Relation, RelationsAnswer, Span, spans_of

_UNTYPED = "Mention"
_LONGEST_NAME = 100
_LINE = re.compile(r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")  # no line end of str.splitlines()


def write_brat(
    folder: Path, records: Sequence[Record], probabilities: Sequence[Sequence[float]] = ()
) -> tuple[str, ...]:
    """Write each record's pair of files into a folder; return the names of the pairs, in order.

    A name is the record's id, without characters that file names should not have, and followed by
    a number if an earlier name is the same. A record without mentions gets an empty ``.ann``.
    ``probabilities`` of the mentions (or links) of each record, in order, are added as notes.

    Raises:
        DataError: a mention covers no words.
    """
    names: list[str] = []
    used: set[str] = set()
    for record, own in zip(records, probabilities or [()] * len(records), strict=True):
        name = _free_name(record.id, used)
        names.append(name)
        used.add(name.casefold())
        text = re.sub("^\ufeff", " ", record.text).encode()
        annotation = "".join(f"{line}\n" for line in _lines(record, own)).encode()
        (folder / f"{name}.txt").write_bytes(text)
        (folder / f"{name}.ann").write_bytes(annotation)
    return tuple(names)


def write_annotation_conf(
    folder: Path,
    records: Sequence[Record],
    labels: Iterable[str],
    *,
    are_links: bool,
    ends: Ends | None = None,
) -> None:
    """Write ``annotation.conf``, which tells brat the types that may be annotated.

    ``labels`` are the task's types: of links if ``are_links``, of mentions otherwise. ``ends`` are
    the types of head and tail that are known for types of links. The ends of a link may have these
    types and those that they have in the records, or any type if there are none.
    """
    known = ends or {}
    mentions = [span.type for record in records for span in spans_of(record.answer)]
    mentions += sorted({end for both in known.values() for end in both if end})
    links = [
        link
        for record in records
        if isinstance(record.answer, RelationsAnswer)
        for link in record.answer.relations
    ]
    kinds = [*([] if are_links else labels), *mentions]
    names = dict.fromkeys(map(_type_name, kinds)) or {_UNTYPED: None}
    link_kinds = [*(labels if are_links else []), *(link.type for link in links)]
    lines = [_link_line(kind, links, known) for kind in dict.fromkeys(link_kinds)]
    relations = dict.fromkeys(lines)
    sections = {"entities": names, "relations": relations, "events": (), "attributes": ()}
    text = "\n".join(
        "".join(f"{line}\n" for line in (f"[{title}]", *lines)) for title, lines in sections.items()
    )
    (folder / "annotation.conf").write_bytes(text.encode())


def _link_line(kind: str, links: Sequence[Relation], ends: Ends) -> str:
    """Return the line of ``annotation.conf`` for a type of link."""
    name = _type_name(kind)
    same = [link for link in links if _type_name(link.type) == name]
    head, tail = ends.get(kind, ("", ""))
    heads = {_type_name(link.head.type) for link in same} | ({_type_name(head)} if head else set())
    tails = {_type_name(link.tail.type) for link in same} | ({_type_name(tail)} if tail else set())
    shown = ["|".join(sorted(types)) or "<ENTITY>" for types in (heads, tails)]
    return f"{name}\tArg1:{shown[0]}, Arg2:{shown[1]}"


def _free_name(identity: str, used: set[str]) -> str:
    """Return a file name that no other record has, even where case is ignored."""
    safe = re.sub(r"[^A-Za-z0-9.-]+", "_", identity).strip("._-")[:_LONGEST_NAME] or "note"
    name, number = safe, 2
    while name.casefold() in used:
        name, number = f"{safe}-{number}", number + 1
    return name


def _lines(record: Record, probabilities: Sequence[float]) -> Iterator[str]:
    keys = {span: f"T{number}" for number, span in enumerate(_mentions(record.answer), start=1)}
    for span, key in keys.items():
        pieces = tuple(_pieces(record, span))
        offsets = ";".join(f"{start} {end}" for start, end in pieces)
        shown = " ".join(record.text[start:end] for start, end in pieces)
        yield f"{key}\t{_type_name(span.type)} {offsets}\t{shown}"
    listed: dict[Span, str] | dict[Relation, str] = keys
    if isinstance(record.answer, RelationsAnswer):
        links = enumerate(dict.fromkeys(record.answer.relations), start=1)
        listed = {link: f"R{number}" for number, link in links}
        for link, key in listed.items():
            ends = f"Arg1:{keys[link.head]} Arg2:{keys[link.tail]}"
            yield f"{key}\t{_type_name(link.type)} {ends}"
    if probabilities:
        yield from _notes(record.answer, listed, probabilities)


def _notes(
    answer: Answer | None, keys: Mapping[Any, str], probabilities: Sequence[float]
) -> Iterator[str]:
    """Yield a note with the probability of each mention, or of each link of an answer with links.

    ``keys`` are their names in the file.
    """
    items = answer.relations if isinstance(answer, RelationsAnswer) else spans_of(answer)
    values = dict(zip(items, probabilities, strict=True))
    for number, (item, key) in enumerate(keys.items(), start=1):
        yield f"#{number}\tAnnotatorNotes {key}\tprobability {values[item]:.2f}"


def _mentions(answer: Answer | None) -> Sequence[Span]:
    return sorted(set(spans_of(answer)))


def _pieces(record: Record, span: Span) -> Iterator[tuple[int, int]]:
    """Yield the part of a mention on each line, as brat allows no mention across lines."""
    is_empty = True
    for found in _LINE.finditer(record.text, span.start, span.end):
        part = found[0]
        if part.strip():
            is_empty = False
            start = found.start() + len(part) - len(part.lstrip())
            yield start, start + len(part.strip())
    if is_empty:
        raise DataError(
            f"record {record.id}: mention {span.start}-{span.end} ({span.type}) covers no words; "
            "leave it out"
        )


def _type_name(type_: str) -> str:
    return re.sub(r"\s+", "_", type_.strip()) or _UNTYPED
