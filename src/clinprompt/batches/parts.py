"""Fit what is longer than a model reads: windows of a note, a passage of a context.

Knows no models. Mentions and links are asked for window by window and joined again; a question is
put to the passage that suits it best; of a marked pair, the sentences of both stay. Anything else
is read as it is, and loses its middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clinprompt.batches.encode import Encoder
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.example import Answer, Example, TextAnswer
from clinprompt.tasks.formats import make_example
from clinprompt.tasks.passages import best_passage, excerpt
from clinprompt.tasks.readers.documents import marked_places
from clinprompt.tasks.windows import Window, merge_relations, merge_spans, split_record

LEAST_ROOM = 16  # tokens; where wording leaves less to a text, windows are of no use
OVERLAP = 4  # a window shares a fourth with the next


@dataclass(frozen=True, slots=True)
class Parts:
    """An example as the examples that a model reads; ``windows`` is empty where it is not split."""

    examples: tuple[Example, ...]
    windows: tuple[Window, ...] = ()
    are_links: bool = False

    def join(self, answers: Sequence[Answer]) -> Answer:
        """Return the answer to the whole, from one answer a part."""
        if not self.windows:
            [answer] = answers
            return answer
        merge = merge_relations if self.are_links else merge_spans
        return merge(self.windows, answers)


def parts_of(card: TaskCard, example: Example, encoder: Encoder) -> Parts:
    """Return what a model reads of an example: all of it where it fits.

    To train, the record bears its answer, and each window that part of it which lies inside.
    """
    if not encoder.splits or encoder.fits(example):
        return Parts((example,))
    record, cut = example.record, card.wording.cut
    room = encoder.room(example)
    if card.answer in ("spans", "relations") and cut == ("text",) and room >= LEAST_ROOM:
        windows = split_record(record, encoder.length_of, room, room // OVERLAP)
        made = (make_example(card, w.record, instruct=example.is_instructed) for w in windows)
        return Parts(tuple(made), windows, are_links=card.answer == "relations")
    places = marked_places(record.text) if card.type == "re" and cut == ("text",) else ()
    if card.answer == "label" and places:
        shown = excerpt(record.text, places, encoder.length_of, room)
        return Parts((_shortened(card, example, {"text": shown}),))
    if card.type == "qa" and len(cut) == 1 and "question" in record.fields and cut[0] != "question":
        context, question = record.fields[cut[0]], record.fields["question"]
        answer = record.answer.text if isinstance(record.answer, TextAnswer) else ""
        start, end = best_passage(context, question, encoder.length_of, room, answer=answer)
        return Parts((_shortened(card, example, {cut[0]: context[start:end]}),))
    return Parts((example,))


def _shortened(card: TaskCard, example: Example, fields: dict[str, str]) -> Example:
    part = replace(example.record, fields={**example.record.fields, **fields})
    made = make_example(card, part, instruct=example.is_instructed)
    return replace(made, is_shortened=True)
