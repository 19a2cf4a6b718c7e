"""Fit what is longer than a model reads: windows of a note, a passage of a context.

Knows no models. Mentions and links are asked for window by window and joined again; windows are so
short that most answers fit ``max_target_tokens``, and where one is known not to, they are halved. A
question is put to the passage that suits it best; of a marked pair, the sentences of both stay.
Anything else is read as it is, and loses its middle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clinprompt.batches.encode import Encoder
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import make_example, render_answer
from clinprompt.tasks.long.passages import best_passage, excerpt
from clinprompt.tasks.long.windows import Window, merge_relations, merge_spans, split_record
from clinprompt.tasks.readers.generic.documents import marked_places
from clinprompt.tasks.records import Answer, Example, TextAnswer

LEAST_ROOM = 16  # tokens; where wording leaves less to a text, windows are of no use
OVERLAP = 4  # a window shares a fourth with the next
ANSWER_COST = 1.2  # tokens of answer a character, for one a character of text: types and line ends


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
    """Return what a model reads of an example: all of it where it and its answer fit.

    To train, the record bears its answer, and each window that part of it which lies inside.
    """
    if not encoder.splits:
        return Parts((example,))
    cut = card.wording.cut
    if card.answer in ("spans", "relations") and cut == ("text",):
        return _in_windows(card, example, encoder)
    if encoder.fits(example):
        return Parts((example,))
    record, room = example.record, encoder.room(example)
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


def _in_windows(card: TaskCard, example: Example, encoder: Encoder) -> Parts:
    room = encoder.room(example)
    length = encoder.length_of(example.record.text)
    if room < LEAST_ROOM or not length:
        return Parts((example,))
    limit = min(length if encoder.fits(example) else room, _num_answerable(card, encoder))
    windows = split_record(example.record, encoder.length_of, limit, limit // OVERLAP)
    if example.target is not None:
        windows = tuple(part for one in windows for part in _halved(card, one, encoder))
    if len(windows) == 1:
        return Parts((example,))
    made = (make_example(card, w.record, instruct=example.is_instructed) for w in windows)
    return Parts(tuple(made), windows, are_links=card.answer == "relations")


def _num_answerable(card: TaskCard, encoder: Encoder) -> int:
    """Return about how many tokens of dense text have an answer that fits."""
    limit = encoder.target_limit(card.name)
    if not card.density:
        return encoder.max_input_tokens
    return max(LEAST_ROOM, int(limit / (card.density * ANSWER_COST)))


def _halved(card: TaskCard, window: Window, encoder: Encoder) -> Iterator[Window]:
    """Yield the window or, where its known answer does not fit, its halves or theirs."""
    record = window.record
    limit = encoder.length_of(record.text) // 2 + 1
    if limit < LEAST_ROOM or encoder.answer_fits(card.name, render_answer(card, record)):
        yield window
        return
    halves = split_record(record, encoder.length_of, limit, limit // OVERLAP)
    if len(halves) == 1:  # one mention, too long to be cut
        yield window
        return
    for half in halves:
        is_first = window.is_first and half.is_first
        is_last = window.is_last and half.is_last
        placed = Window(half.record, window.offset + half.offset, is_first, is_last)
        yield from _halved(card, placed, encoder)


def _shortened(card: TaskCard, example: Example, fields: dict[str, str]) -> Example:
    part = replace(example.record, fields={**example.record.fields, **fields})
    made = make_example(card, part, instruct=example.is_instructed)
    return replace(made, is_shortened=True)
