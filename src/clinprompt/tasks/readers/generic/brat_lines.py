r"""Read the lines of a brat ``.ann`` file, one value per line. Knows nothing of the ``.txt`` file.

::

    T1<tab>Drug 5 12;20 24<tab>shown     a mention: type, offsets of its fragments, and its text
    R1<tab>Treats Arg1:T1 Arg2:E2        a relation between two mentions or events
    E1<tab>Drug:T1 Dose:T2 Dose2:T3      an event: its trigger, then arguments in their roles
    A1<tab>StatusVal T2 current          an attribute of a mention or event; M lines are the same

Skipped are equivalences (``*``), notes (``#``), normalizations (``N``) and blank lines.
"""

import re
from dataclasses import dataclass

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.offsets import Fragments

_OFFSETS = re.compile(r"\d{1,9} \d{1,9}(;\d{1,9} \d{1,9})*")
_MENTION = re.compile(r"T\d+")
_TARGET = re.compile(r"[TER]\d+")
_ARGUMENT = re.compile(r"([^\s:]+):([TE]\d+)")


@dataclass(frozen=True, slots=True)
class Mention:
    """A typed mention with its fragments in the file's order; ``shown`` is its text column."""

    id: str
    type: str
    fragments: Fragments
    shown: str


@dataclass(frozen=True, slots=True)
class Argument:
    """The mention or event, by its id, that has a role in an event or relation."""

    role: str
    id: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A typed relation with its two arguments in the file's order."""

    type: str
    head: Argument
    tail: Argument


@dataclass(frozen=True, slots=True)
class Event:
    """An event; the role of ``trigger`` is the event's type."""

    id: str
    trigger: Argument
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named value of a mention or event; ``value`` is "" if the attribute has only a name."""

    name: str
    target: str
    value: str


Line = Mention | Relation | Event | Attribute


def parse_line(line: str) -> Line | None:
    """Return the value on a line, or None for a line that is skipped.

    Raises:
        DataError: brat writes no such line. The reader adds file and line.
    """
    if not line.strip():
        return None
    match line[0]:
        case "T":
            return _mention(line)
        case "R":
            return _relation(_content(line))
        case "E":
            return _event(line.partition("\t")[0], _content(line))
        case "A" | "M":
            return _attribute(_content(line))
        case "*" | "#" | "N":
            return None
        case _:
            raise DataError("not a line of brat: it must begin with T, R, E, A, M, N, * or #")


def parse_offsets(offsets: str) -> Fragments:
    """Read ``start end`` of each fragment; fragments are separated by ``;``.

    Raises:
        DataError: the text has another form, or a fragment is empty.
    """
    if not _OFFSETS.fullmatch(offsets):
        raise DataError("offsets must read 'start end', or 'start end;start end' for fragments")
    numbers = [[int(number) for number in fragment.split(" ")] for fragment in offsets.split(";")]
    fragments = tuple((start, end) for start, end in numbers)
    if any(start >= end for start, end in fragments):
        raise DataError("a mention is empty; its end must be after its start")
    return fragments


def _mention(line: str) -> Mention:
    columns = line.split("\t", 2)
    if len(columns) < 3 or not _MENTION.fullmatch(columns[0]):
        raise DataError("a T line must read 'T1<tab>TYPE START END<tab>TEXT'")
    kind, _, offsets = columns[1].partition(" ")
    return Mention(columns[0], kind, parse_offsets(offsets), columns[2])


def _content(line: str) -> list[str]:
    return line.partition("\t")[2].split()


def _relation(content: list[str]) -> Relation:
    if len(content) != 3:
        raise DataError("an R line must read 'R1<tab>TYPE Arg1:T1 Arg2:T2'")
    return Relation(content[0], _argument(content[1]), _argument(content[2]))


def _event(name: str, content: list[str]) -> Event:
    if not content:
        raise DataError("an E line must read 'E1<tab>TYPE:T1 ROLE:T2 ...'")
    trigger, *arguments = map(_argument, content)
    unnumbered = tuple(Argument(re.sub(r"\d+$", "", one.role), one.id) for one in arguments)
    return Event(name, trigger, unnumbered)


def _argument(content: str) -> Argument:
    found = _ARGUMENT.fullmatch(content)
    if not found:
        raise DataError("an argument must read 'ROLE:T1' or 'ROLE:E1'")
    return Argument(found[1], found[2])


def _attribute(content: list[str]) -> Attribute:
    if len(content) < 2 or not _TARGET.fullmatch(content[1]):
        raise DataError("an A line must read 'A1<tab>NAME T1 VALUE'")
    return Attribute(content[0], content[1], " ".join(content[2:]))
