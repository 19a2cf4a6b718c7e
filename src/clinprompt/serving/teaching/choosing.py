"""Choose the next note to offer: the one that the served prompt is least sure of, or any.

The answers to notes in random order test a prompt honestly, and only if chance alone chose them. If
the least sure notes of a set were taken first, what is left of it is easier. So a quarter of the
notes is kept for random order as long as others wait, and a note that is drawn at random counts
only if no least sure note was taken from its set before. A set is the notes of one request, and
in it those that are kept for random order or those that are not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clinprompt.evaluation.questions import Prediction
from clinprompt.serving.teaching.notes import Note
from clinprompt.tasks.records import TextAnswer, Unparseable

AT_MOST = 32  # notes that are compared
_SURENESS_OF_NOTHING = 0.5  # of an answer without mentions or links, which has no probability
_Set = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class Choice:
    """The note to offer, whether it counts for the test, and among how many it was chosen."""

    note: Note
    counts: bool
    compared: int


def set_of(note: Note) -> _Set:
    """Return the set of notes that a note belongs to."""
    return note.posting, note.is_for_chance


def at_random(waiting: Sequence[Note], taken_from: Collection[_Set]) -> Choice:
    """Choose a note at random, from sets that no least sure note was taken from if there are any.

    ``taken_from`` are the sets that a least sure note was taken from.
    """
    whole = [note for note in waiting if set_of(note) not in taken_from]
    return Choice(min(whole or waiting, key=_rank), counts=bool(whole), compared=1)


def candidates(waiting: Sequence[Note]) -> list[Note]:
    """Return the notes that are compared to find the least sure one."""
    others = [note for note in waiting if not note.is_for_chance]
    return sorted(others or waiting, key=_rank)[:AT_MOST]


def least_sure(waiting: Sequence[Note], sureness: Mapping[int, float]) -> Choice:
    """Choose the note with the lowest sureness; without any, the first one.

    ``sureness`` is that of the answers that are known, by note.
    """
    among = candidates(waiting)
    known = [note for note in among if note.number in sureness]
    if not known:
        return Choice(among[0], counts=False, compared=1)
    chosen = min(known, key=lambda note: sureness[note.number])
    return Choice(chosen, counts=False, compared=len(known))


def sureness_of(prediction: Prediction) -> float:
    """Return how sure an answer is: the lowest of its probabilities.

    It is 0 if the answer could not be read, 1 if it is free text, which has no probability, and 0.5
    if it lists nothing.
    """
    if isinstance(prediction.answer, Unparseable):
        return 0.0
    if prediction.probabilities:
        return min(prediction.probabilities)
    return 1.0 if isinstance(prediction.answer, TextAnswer) else _SURENESS_OF_NOTHING


def _rank(note: Note) -> float:
    return note.rank
