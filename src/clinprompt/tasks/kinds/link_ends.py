"""Find the types of mentions that links of each type join. Knows no wording, no models.

The text form of a link does not have the types of its ends. They can be added to an answer if links
of its type always join mentions of the same types.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from clinprompt.tasks.records import Record, Relation, RelationsAnswer

Ends = Mapping[str, tuple[str, str]]


def link_ends(records: Iterable[Record]) -> dict[str, tuple[str, str]]:
    """Return for each type of link the types of its head and its tail.

    The type of an end is "" if links in the records have different ones there, or none. Types of
    links without any known end are left out.
    """
    heads: dict[str, set[str]] = {}
    tails: dict[str, set[str]] = {}
    for record in records:
        links = record.answer.relations if isinstance(record.answer, RelationsAnswer) else ()
        for link in links:
            heads.setdefault(link.type, set()).add(link.head.type)
            tails.setdefault(link.type, set()).add(link.tail.type)
    ends = {kind: (_only(heads[kind]), _only(tails[kind])) for kind in sorted(heads)}
    return {kind: both for kind, both in ends.items() if any(both)}


def _only(types: set[str]) -> str:
    return next(iter(types)) if len(types) == 1 else ""


def with_ends(link: Relation, ends: Ends) -> Relation:
    """Return a link whose head and tail have the types that are known for its type."""
    head, tail = ends.get(link.type, ("", ""))
    return replace(link, head=replace(link.head, type=head), tail=replace(link.tail, type=tail))
