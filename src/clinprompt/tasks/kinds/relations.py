r"""Write and read typed links between two mentions, one a line. Knows nothing of other mentions.

::

    dose: aspirin | 81 mg      the type's word, the head, the tail
    none                       no link at all

Lines stand in order of head, then tail. Inside a mention ``|`` and ``\`` are written ``\|`` and
``\\``. The form does not carry the types of head and tail: read back, both are "". Nor does it
carry which occurrences of two strings were linked, where those are not the nearest ones.
"""

import re

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.grounding import RelationGrounder, flatten
from clinprompt.tasks.kinds.labels import word_of
from clinprompt.tasks.kinds.ner import NONE, says_none, split_type
from clinprompt.tasks.records import Answer, Record, Relation, RelationsAnswer, Span, Unparseable

_HEAD_AND_TAIL = re.compile(r"((?:\\.|[^\\|])++)\|(.+)")


def render_relations(card: TaskCard, record: Record, answer: Answer) -> str:
    """Return one line for each link."""
    assert isinstance(answer, RelationsAnswer)
    lines = [
        f"{word_of(card, link.type)}: {_mention(record, link.head)} | {_mention(record, link.tail)}"
        for link in sorted(answer.relations, key=_appearance)
    ]
    return "\n".join(lines) or NONE


def parse_relations(card: TaskCard, record: Record, text: str) -> Answer:
    """Read links and find both ends in the record's text; what is not found is counted."""
    if says_none(text):
        return RelationsAnswer(())
    lines = [line for line in map(flatten, text.split("\n")) if line]
    readable = [found for line in lines if (found := _typed_pair(card, line))]
    if not readable:
        return Unparseable(text)
    grounder = RelationGrounder(record.text)
    grounded = [grounder.ground(head, tail, kind) for kind, head, tail in readable]
    links = sorted((link for link in grounded if link is not None), key=_appearance)
    return RelationsAnswer(tuple(links), ungrounded=len(lines) - len(links))


def _typed_pair(card: TaskCard, line: str) -> tuple[str, str, str] | None:
    found = split_type(card, line)
    pair = _HEAD_AND_TAIL.fullmatch(found[1]) if found else None
    if found is None or pair is None:
        return None
    head, tail = (flatten(re.sub(r"\\(.)", r"\1", part)) for part in pair.groups())
    return (found[0], head, tail) if head and tail else None


def _mention(record: Record, span: Span) -> str:
    return re.sub(r"([\\|])", r"\\\1", flatten(record.text[span.start : span.end]))


def _appearance(link: Relation) -> tuple[int, int, str]:
    return link.head.start, link.tail.start, link.type
