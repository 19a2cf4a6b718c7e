"""Write and read the letter of a multiple-choice question. Knows nothing of the question.

Questions answered with a label or with free text use ``labels`` and ``summarization``.
"""

import re
from string import ascii_uppercase

from clinprompt.errors import DataError
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.grounding import flatten
from clinprompt.tasks.records import Answer, LabelAnswer, Record, Unparseable

_LETTER = re.compile(r"\(([a-z])\)|([a-z])(?:[.):,]|$)")


def letters(record: Record) -> tuple[str, ...]:
    """Return the letters of the record's options, first is A.

    Raises:
        DataError: the record has no options, or more than there are letters.
    """
    if not 0 < len(record.options) <= len(ascii_uppercase):
        raise DataError(
            f"record {record.id}: {len(record.options)} options; multiple choice takes 1 to 26"
        )
    return tuple(ascii_uppercase[: len(record.options)])


def render_choice(card: TaskCard, record: Record, answer: Answer) -> str:
    """Return the letter of the right option.

    Raises:
        DataError: the answer is not the letter of one of the options.
    """
    assert isinstance(answer, LabelAnswer)
    known = letters(record)
    if answer.label not in known:
        raise DataError(f"{card.name}: record {record.id}: answer is none of {', '.join(known)}")
    return answer.label


def parse_choice(_card: TaskCard, record: Record, text: str) -> Answer:
    """Read ``B``, ``b``, ``B.``, ``(B)``, ``B. text of the option``, or an option's exact text."""
    said = flatten(text).casefold()
    known = tuple(ascii_uppercase[: len(record.options)])
    for letter, option in zip(known, record.options, strict=False):
        if said and said == flatten(option).casefold() and said.upper() not in known:
            return LabelAnswer(letter)
    match = _LETTER.match(said)
    letter = (match[1] or match[2]).upper() if match else ""
    return LabelAnswer(letter) if letter in known else Unparseable(text)
