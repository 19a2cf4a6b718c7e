"""Write and read one label of a closed set as its word. Knows nothing of what is classified."""

from clinprompt.errors import DataError
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.grounding import flatten
from clinprompt.tasks.records import Answer, LabelAnswer, Record, Unparseable


def label_words(card: TaskCard) -> tuple[str, ...]:
    """Return the word of every label in the card's order."""
    return tuple(flatten(word) for word in card.labels.values())


def word_of(card: TaskCard, label: str) -> str:
    """Return the word that the card shows for a label or type.

    Raises:
        DataError: the card does not list the label.
    """
    if label not in card.labels:
        known = ", ".join(card.labels)
        raise DataError(f"{card.name}: labels lack one that the data has; the card lists: {known}")
    return flatten(card.labels[label])


def render_label(card: TaskCard, _record: Record, answer: Answer) -> str:
    """Return the label's word."""
    assert isinstance(answer, LabelAnswer)
    return word_of(card, answer.label)


def parse_label(card: TaskCard, _record: Record, text: str) -> Answer:
    """Read a label: its word alone, or a text that starts with it (longest word first)."""
    said = flatten(text).casefold()
    words = [word.casefold() for word in label_words(card)]
    for word, label in sorted(zip(words, card.labels, strict=True), key=lambda pair: -len(pair[0])):
        if starts_with_word(said, word):
            return LabelAnswer(label)
    return Unparseable(text)


def starts_with_word(text: str, word: str) -> bool:
    """Return whether the text starts with that word and not just with its letters."""
    following = text[len(word) : len(word) + 1]
    return text.startswith(word) and not (following.isalnum() or following in {"-", "_"})
