"""Print annotated notes: mentions in brackets, links, labels, each with its probability."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from clinprompt.cli.screen import console, say

if TYPE_CHECKING:
    from clinprompt.evaluation.questions import Prediction
    from clinprompt.jobs.comparison.example_notes import ExampleNote
    from clinprompt.tasks.card import TaskCard
    from clinprompt.tasks.records import Record, Relation, Span

_FOUND, _RIGHT, _WRONG = "bold reverse", "green", "red"


def show_example_notes(notes: Iterable["ExampleNote"]) -> None:
    """Print notes with the answers of a method, and say which answers are right."""
    for number, note in enumerate(notes, start=1):
        record = note.prediction.example.record
        say(f"Note {number}. {note.card.title} ({note.card.name}, {note.method})", style="bold")
        console.print(marked_text(record, note.prediction), highlight=False)
        for name, value in record.fields.items():
            if name != "text":
                say(f"{name}: {value}", wraps=True)
        for line, is_right in answer_lines(note.card, note.prediction):
            say(f"  {line}", style=_RIGHT if is_right else _WRONG)
        say("")


def marked_text(record: "Record", prediction: "Prediction") -> Text:
    """Return the text of a note with the mentions of an answer in brackets and highlighted."""
    from clinprompt.tasks.records import spans_of

    marked, end = Text(), 0
    for start, stop in _apart(sorted(spans_of(prediction.answer))):
        marked.append(record.text[end:start])
        marked.append(f"[{record.text[start:stop]}]", style=_FOUND)
        end = stop
    marked.append(record.text[end:])
    return marked


def answer_lines(card: "TaskCard", prediction: "Prediction") -> Iterator[tuple[str, bool]]:
    """Yield the lines that say an answer, what it lacks, and whether each line is right.

    A mention is written with its first character and the one after its last.
    """
    from clinprompt.tasks.kinds import kind_of

    record, listing = prediction.example.record, kind_of(card).listing
    if listing is None:
        yield _closed_line(prediction)
        return
    gold = {listing.identity(item): item for item in listing.items(record.answer)}
    found = listing.items(prediction.answer)
    for item, probability in zip(found, prediction.probabilities, strict=True):
        is_right = gold.pop(listing.identity(item), None) is not None
        verdict = "right" if is_right else "wrong"
        yield f"{_item_in_words(record, item)}, probability {probability:.2f}: {verdict}", is_right
    if not found:
        yield "nothing found", not gold
    for item in gold.values():
        yield f"missed: {_item_in_words(record, item)}", False


def _closed_line(prediction: "Prediction") -> tuple[str, bool]:
    """Return the line of a label or of free text."""
    target = prediction.example.target or ""
    is_right = prediction.answer == prediction.example.record.answer
    chance = "".join(f", probability {one:.2f}" for one in prediction.probabilities[:1])
    verdict = "right" if is_right else f"the correct answer is {target.strip()}"
    return f"answer: {prediction.text.strip()}{chance}: {verdict}", is_right


def _item_in_words(record: "Record", item: "Span | Relation") -> str:
    from clinprompt.tasks.records import Span

    def words(span: Span) -> str:
        return f"{record.text[span.start : span.end]} ({span.start}-{span.end})"

    if isinstance(item, Span):
        return f"{item.type}: {words(item)}"
    return f"{item.type}: {words(item.head)} → {words(item.tail)}"


def _apart(spans: Sequence["Span"]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of stretches of text that spans cover; joins those that overlap."""
    start, end = 0, 0
    for span in spans:
        if span.start >= end:
            if end:
                yield start, end
            start = span.start
        end = max(end, span.end)
    if end:
        yield start, end
