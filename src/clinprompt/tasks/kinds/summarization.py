"""Write and read free text: summaries and freely worded answers. Knows nothing of its meaning."""

from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.grounding import flatten
from clinprompt.tasks.records import Answer, Record, TextAnswer, Unparseable


def render_text(_card: TaskCard, _record: Record, answer: Answer) -> str:
    """Return the text with whitespace runs as single blanks."""
    assert isinstance(answer, TextAnswer)
    return flatten(answer.text)


def parse_text(_card: TaskCard, _record: Record, text: str) -> Answer:
    """Read any text that is not blank."""
    said = flatten(text)
    return TextAnswer(said) if said else Unparseable(text)
