"""Write and read entity mentions, one a line. Knows nothing of links between them.

::

    aspirin                    a card with one type: the mention
    drug: aspirin              a card with several types: the type's word and the mention
    none                       no mention at all

Mentions stand in order of appearance, the longer first. Reading also takes lines that begin with a
list mark, where the mark is not part of the mention. The form cannot carry what
``grounding`` cannot find again, nor a single mention that reads "none".
"""

import re

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.grounding import SpanGrounder, flatten
from clinprompt.tasks.kinds.labels import word_of
from clinprompt.tasks.records import Answer, Record, Span, SpansAnswer, Unparseable

NONE = "none"
_BULLET = re.compile(r"^(?:[-*•]|\d+[.)])\s+")


def render_spans(card: TaskCard, record: Record, answer: Answer) -> str:
    """Return one line for each mention."""
    assert isinstance(answer, SpansAnswer)
    lines = []
    for span in sorted(answer.spans, key=_appearance):
        word = word_of(card, span.type)
        mention = flatten(record.text[span.start : span.end])
        lines.append(f"{word}: {mention}" if len(card.labels) > 1 else mention)
    return "\n".join(lines) or NONE


def parse_spans(card: TaskCard, record: Record, text: str) -> Answer:
    """Read mentions and find them in the record's text; what is not found is counted."""
    if says_none(text):
        return SpansAnswer(())
    lines = [line for line in map(flatten, text.split("\n")) if line]
    readable = [found for line in lines if (found := _typed_mention(card, line))]
    if not readable:
        return Unparseable(text)
    grounder = SpanGrounder(record.text)
    grounded = [
        grounder.ground(mention, kind) or grounder.ground(without_bullet(mention), kind)
        for kind, mention in readable
    ]
    spans = sorted((span for span in grounded if span is not None), key=_appearance)
    return SpansAnswer(tuple(spans), ungrounded=len(lines) - len(spans))


def says_none(text: str) -> bool:
    """Return whether the whole output is the word for an empty answer."""
    return text.strip().rstrip(".").casefold() == NONE


def without_bullet(line: str) -> str:
    """Return a line without the list mark or number that chat models like to begin it with."""
    return _BULLET.sub("", line)


def split_type(card: TaskCard, line: str) -> tuple[str, str] | None:
    """Split ``type word: rest`` into the type (longest word first) and the rest, if one is there.

    Returns None when no type's word is there.
    """
    said = line.casefold()
    starts = {label: f"{word_of(card, label).casefold()}:" for label in card.labels}
    for label, start in sorted(starts.items(), key=lambda pair: -len(pair[1])):
        # Folding may change lengths, so the rest is cut at the word's own colon.
        if said.startswith(start):
            rest = line.split(":", maxsplit=start.count(":"))[-1]
            return label, flatten(rest)
    return None


def _typed_mention(card: TaskCard, line: str) -> tuple[str, str] | None:
    if len(card.labels) == 1:
        return next(iter(card.labels)), line
    found = split_type(card, line) or split_type(card, without_bullet(line))
    return found if found and found[1] else None


def _appearance(span: Span) -> tuple[int, int, str]:
    return span.start, -span.end, span.type
